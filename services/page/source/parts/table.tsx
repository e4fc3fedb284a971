/** Tables of figures, which are also what a chart is to those who cannot see it, and its CSV. */
import type { JSX } from "preact";
import { type Annotation, annotations, between, endOfTimes } from "../state/annotations";
import { t } from "../words";

export type Cell = string | number | null | undefined;

export interface Column {
  title: string;
  numeric?: boolean;
  /** How a cell is written; the CSV has the value itself. */
  show?: (value: never) => string;
  /** The address that a cell leads to. */
  href?: (value: never) => string;
}

export function Table({
  caption,
  columns,
  rows,
}: {
  caption: string;
  columns: Column[];
  rows: Cell[][];
}): JSX.Element {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table class="figures">
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" class={column.numeric ? "number" : ""}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, place) => (
            <tr key={place}>
              {row.map((cell, at) => {
                const column = columns[at];
                const said = column?.show ? column.show(cell as never) : (cell ?? "–");
                const text = column?.href ? <a href={column.href(cell as never)}>{said}</a> : said;
                return at === 0 ? (
                  <th key={at} scope="row" class={column?.numeric ? "number" : ""}>
                    {text}
                  </th>
                ) : (
                  <td key={at} class={column?.numeric ? "number" : ""}>
                    {text}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The table of a chart, folded, with its download. */
export function AsTable({
  times,
  ...chart
}: {
  caption: string;
  columns: Column[];
  rows: Cell[][];
  /** When the intervals of a time series begin (s since 1970): its annotations are a column, too. */
  times?: number[];
}): JSX.Element {
  const props = times ? withMarks(chart, times, annotations.value) : chart;
  return (
    <details class="as-table">
      <summary>{t("as_table")}</summary>
      <Table {...props} />
      <button type="button" class="quiet" onClick={() => download(props)}>
        {t("download_csv")}
      </button>
    </details>
  );
}

interface Rows {
  caption: string;
  columns: Column[];
  rows: Cell[][];
}

/** Add a column of what happened in each interval, if anything did. */
function withMarks(chart: Rows, times: number[], all: readonly Annotation[]): Rows {
  const ends = [...times.slice(1), endOfTimes(times)];
  const said = times.map((begin, at) => between(all, begin, ends[at] ?? begin).map((one) => one.text).join("; "));
  if (!said.some(Boolean)) return chart;
  return {
    ...chart,
    columns: [...chart.columns, { title: t("annotations") }],
    rows: chart.rows.map((row, at) => [...row, said[at] ?? ""]),
  };
}

export function download({ caption, columns, rows }: Rows): void {
  const lines = [columns.map((column) => column.title), ...rows].map((row) => row.map(quoted).join(","));
  const address = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `${caption.replace(/[^\p{L}\p{N}]+/gu, "-")}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function quoted(cell: Cell): string {
  let text = String(cell ?? "");
  // A spreadsheet would take such a text for a formula.
  if (typeof cell === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
