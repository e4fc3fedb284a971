import type { JSX } from "preact";
import { definitions, titleOf } from "../state/definitions";
import type { Lists } from "../state/definitions";
import { KINDS, latest } from "../state/live";
import { moment } from "../state/format";
import { address } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Empty, Loading, StateBadge } from "../parts/notes";
import { Head } from "../parts/shell";

export function Definitions(): JSX.Element {
  const held = definitions.value;
  const rows = held
    ? KINDS.flatMap((kind) => (held[kind] as Lists["funnels"]).map((one) => ({ kind, one })))
    : [];
  return (
    <>
      <Head title={t("page_definitions")} note={t("definitions_note")} />
      {!held && <Loading />}
      {held && rows.length === 0 && <Empty title={t("no_definitions")}>{t("no_definitions_note")}</Empty>}
      {rows.length > 0 && (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("name")}</th>
                <th scope="col">{t("kind")}</th>
                <th scope="col">{t("state")}</th>
                <th scope="col" class="number">
                  {t("version")}
                </th>
                <th scope="col">{t("changed")}</th>
              </tr>
            </thead>
            <tbody>
              {rows.map(({ kind, one }) => {
                const live = latest.value[kind].get(one.id);
                return (
                  <tr key={`${kind}/${one.id}`}>
                    <th scope="row">
                      <a href={address(project.value, kind, one.id)}>{titleOf(one)}</a>
                    </th>
                    <td>{t(`page_${kind}`)}</td>
                    <td>{live ? <StateBadge state={live.state} backfilled={live.backfilled} /> : "–"}</td>
                    <td class="number">{one.version}</td>
                    <td>{moment(one.updated_at)}</td>
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
