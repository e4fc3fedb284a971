/** Tables of figures, which are also what a chart is to those who cannot see it, and its CSV. */
import type { JSX } from "preact";
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
export function AsTable(props: { caption: string; columns: Column[]; rows: Cell[][] }): JSX.Element {
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

function download({ caption, columns, rows }: { caption: string; columns: Column[]; rows: Cell[][] }): void {
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
