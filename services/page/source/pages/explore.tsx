/** Explorers: a question about the past, of any kind, answered as it is edited. */
import type { JSX } from "preact";
import { address, route } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Head } from "../parts/shell";
import { QUERY_NAMES, type QueryName } from "../explore/draft";
import { Explorer } from "../explore/explorer";

export function Explore(): JSX.Element {
  const { id, more } = route.value;
  const name: QueryName = QUERY_NAMES.find((one) => one === id) ?? "trends";
  return (
    <>
      <Head title={t("page_explore")} note={t(`about_${name}`)} />
      <div class="tabs kinds" role="group" aria-label={t("kind")}>
        {QUERY_NAMES.map((one) => (
          <a
            key={one}
            href={address(project.value, "explore", one, more)}
            aria-current={one === name ? "page" : undefined}
          >
            {t(`query_${one}`)}
          </a>
        ))}
      </div>
      <Explorer key={name} name={name} place={["explore", name]} />
    </>
  );
}
