import type { JSX } from "preact";
import type { Schemas } from "../state/api";
import { definitions } from "../state/definitions";
import { latest } from "../state/live";
import { count, share } from "../state/format";
import { address, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Icon } from "../parts/icons";
import { Empty } from "../parts/notes";
import { FunnelPage } from "./funnel";
import { DefinitionList } from "../parts/definition-list";
import { Builder } from "../explore/builder";

export function Funnels(): JSX.Element {
  const { id, more } = route.value;
  if (more === "edit") return <Builder kind="funnels" id={id} />;
  if (id === "+new") return <Builder kind="funnels" />;
  return id ? <FunnelPage id={id} /> : <FunnelList />;
}

function FunnelList(): JSX.Element {
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "funnels", "+new")}>
      <Icon name="plus" />
      {t("new_funnel")}
    </a>
  );
  return (
    <DefinitionList
      page="funnels"
      title={t("page_funnels")}
      note={t("funnels_note")}
      name={t("funnel")}
      held={definitions.value?.funnels}
      latest={latest.value.funnels}
      columns={[
        { title: t("steps"), class: "wide", cell: (one) => one.steps.length },
        { title: t("entered"), class: "number wide", cell: (_, live) => count(stepsOf(live)?.[0]?.reached) },
        { title: t("converted"), class: "number wide", cell: (_, live) => count(stepsOf(live)?.at(-1)?.reached) },
        { title: t("conversion"), class: "number", cell: (_, live) => share(stepsOf(live)?.at(-1)?.conversion) },
      ]}
      empty={
        <Empty title={t("no_funnels")} action={create}>
          {t("no_funnels_note")}
        </Empty>
      }
      create={create}
    />
  );
}

function stepsOf(live: Schemas["LiveFunnel"] | undefined) {
  return (live?.previous ?? live)?.totals.steps;
}
