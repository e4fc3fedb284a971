/** Columns whose parts are stacked: some upwards, and what is lost downwards. */
import type { JSX } from "preact";
import { count, short } from "../state/format";
import { t } from "../words";

export interface Stack {
  title: string;
  values: number[];
  down?: boolean;
}

export function Columns({
  label,
  titles,
  stacks,
  incomplete = [],
}: {
  label: string;
  titles: string[];
  stacks: Stack[];
  /** Which columns may still change: they are hatched. */
  incomplete?: boolean[];
}): JSX.Element {
  const sum = (at: number, down: boolean) =>
    stacks.reduce((total, one) => total + (Boolean(one.down) === down ? (one.values[at] ?? 0) : 0), 0);
  const up = Math.max(...titles.map((_, at) => sum(at, false)), 1);
  const down = Math.max(...titles.map((_, at) => sum(at, true)), 0);
  const part = (value: number) => `${(100 * value) / (up + down)}%`;
  return (
    <figure class="columns-chart">
      <span class="note small" aria-hidden="true">
        {short(up)}
      </span>
      <div class="columns" role="img" aria-label={label}>
        {titles.map((title, at) => (
          <div
            key={title}
            class={incomplete[at] ? "column incomplete" : "column"}
            title={[
              title + (incomplete[at] ? ` · ${t("incomplete")}` : ""),
              ...stacks.map((one) => `${one.title}: ${count(one.values[at])}`),
            ].join("\n")}
          >
            <div class="column-up" style={{ height: part(up) }}>
              {stacks.map((one, place) =>
                one.down ? null : <i key={place} class={`fill-${place}`} style={{ height: `${(100 * (one.values[at] ?? 0)) / up}%` }} />,
              )}
            </div>
            {down > 0 && (
              <div class="column-down" style={{ height: part(down) }}>
                {stacks.map((one, place) =>
                  one.down ? <i key={place} class={`fill-${place}`} style={{ height: `${(100 * (one.values[at] ?? 0)) / down}%` }} /> : null,
                )}
              </div>
            )}
          </div>
        ))}
      </div>
      <div class="histogram-axis note" aria-hidden="true">
        <span>{titles[0]}</span>
        <span>{titles.length > 1 ? titles.at(-1) : ""}</span>
      </div>
      {stacks.length > 1 && (
        <figcaption class="legend">
          {stacks.map((one, place) => (
            <span key={one.title}>
              <i class={`fill-${place}`} aria-hidden="true" />
              {one.title}
            </span>
          ))}
        </figcaption>
      )}
    </figure>
  );
}
