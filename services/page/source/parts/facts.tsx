/** Which events are in a figure. */
import type { ComponentChildren, JSX } from "preact";
import { moment } from "../state/format";
import { t } from "../words";

export interface Exact {
  positions: Record<string, number>;
  complete_until?: string | null;
}

export function Facts({
  exact,
  rows = [],
}: {
  exact: Exact;
  rows?: [string, ComponentChildren][];
}): JSX.Element {
  return (
    <dl class="facts">
      {rows.map(([title, value]) => [<dt key={title}>{title}</dt>, <dd key={`${title} is`}>{value}</dd>])}
      <dt>{t("positions")}</dt>
      <dd>
        {Object.entries(exact.positions).map(([partition, offset]) => (
          <div key={partition}>{t("position", { partition, offset })}</div>
        ))}
      </dd>
      <dt>{t("complete_until")}</dt>
      <dd>{exact.complete_until ? moment(exact.complete_until) : t("not_known_yet")}</dd>
    </dl>
  );
}
