import type { JSX } from "preact";
import { definitions, titleOf } from "../state/definitions";
import { latest } from "../state/live";
import { count, share } from "../state/format";
import { address, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Icon } from "../parts/icons";
import { Empty, Loading, StateBadge } from "../parts/notes";
import { Head } from "../parts/shell";
import { FunnelPage } from "./funnel";
import { FunnelBuilder } from "./funnel-builder";

export function Funnels(): JSX.Element {
  const { id, more } = route.value;
  if (more === "edit") return <FunnelBuilder id={id} />;
  if (id === "+new") return <FunnelBuilder />;
  return id ? <FunnelPage id={id} /> : <FunnelList />;
}

function FunnelList(): JSX.Element {
  const held = definitions.value?.funnels;
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "funnels", "+new")}>
      <Icon name="plus" />
      {t("new_funnel")}
    </a>
  );
  return (
    <>
      <Head title={t("page_funnels")} note={t("funnels_note")}>
        {held && held.length > 0 && create}
      </Head>
      {!held && <Loading />}
      {held?.length === 0 && (
        <Empty title={t("no_funnels")} action={create}>
          {t("no_funnels_note")}
        </Empty>
      )}
      {held && held.length > 0 && (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("funnel")}</th>
                <th scope="col" class="wide">
                  {t("steps")}
                </th>
                <th scope="col" class="number wide">
                  {t("entered")}
                </th>
                <th scope="col" class="number wide">
                  {t("converted")}
                </th>
                <th scope="col" class="number">
                  {t("conversion")}
                </th>
                <th scope="col">{t("state")}</th>
              </tr>
            </thead>
            <tbody>
              {held.map((one) => {
                const live = latest.value.funnels.get(one.id);
                const steps = (live?.previous ?? live)?.totals.steps;
                return (
                  <tr key={one.id}>
                    <th scope="row">
                      <a href={address(project.value, "funnels", one.id)}>{titleOf(one)}</a>
                    </th>
                    <td class="wide">{one.steps.length}</td>
                    <td class="number wide">{count(steps?.[0]?.reached)}</td>
                    <td class="number wide">{count(steps?.at(-1)?.reached)}</td>
                    <td class="number">{share(steps?.at(-1)?.conversion)}</td>
                    <td>{live && <StateBadge state={live.state} backfilled={live.backfilled} />}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
