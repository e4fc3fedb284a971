/** A retention grid: a row for each period in which persons began, a column for each later one. */
import type { JSX } from "preact";
import type { Schemas } from "../state/api";
import { count, day, month, share } from "../state/format";
import { t } from "../words";

type Row = Schemas["RowResponse"];

export function Grid({
  rows,
  period,
  periods,
  orLater = false,
  caption,
  most = 15,
  onCell,
}: {
  rows: Row[];
  period: Schemas["CohortResponse"]["period"];
  periods: number;
  orLater?: boolean;
  caption: string;
  most?: number;
  onCell?: (begin: string, column: number) => void;
}): JSX.Element {
  const shown = rows.slice(-most).reverse();
  const columns = Math.min(periods, Math.max(1, ...shown.map((row) => past(row.begin, period))));
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table class="grid">
        <caption class="sr">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">{t(`began_${period}`)}</th>
            <th scope="col" class="number">
              {t("persons")}
            </th>
            {Array.from({ length: columns }, (_, column) => (
              <th key={column} scope="col" class="number" title={t(`after_${period}`, { n: column })}>
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((row) => (
            <tr key={row.begin}>
              <th scope="row">{period === "month" ? month(row.begin) : day(row.begin)}</th>
              <td class="number">{count(row.persons)}</td>
              {Array.from({ length: columns }, (_, column) => {
                if (column >= past(row.begin, period)) return <td key={column} />;
                const value = (orLater ? row.returned_or_later : row.returned)[column] ?? 0;
                const part = row.persons ? value / row.persons : 0;
                const text = share(part, part === 1 || part === 0 ? 0 : 1);
                const paint = { "--part": `${Math.round(62 * part)}%` } as Record<string, string>;
                return (
                  <td key={column} class="cell" style={paint}>
                    {onCell && value ? (
                      <button
                        type="button"
                        title={count(value)}
                        aria-label={`${text}, ${t("show_persons_of", { step: `${day(row.begin)} +${column}`, persons: count(value) })}`}
                        onClick={() => onCell(row.begin, column)}
                      >
                        {text}
                      </button>
                    ) : (
                      <span title={count(value)}>{text}</span>
                    )}
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

/** How many periods have begun since one that begins on a day, itself included. */
function past(begin: string, period: string): number {
  const from = new Date(`${begin}T00:00:00Z`);
  const to = new Date();
  if (period === "month") {
    return 12 * (to.getUTCFullYear() - from.getUTCFullYear()) + to.getUTCMonth() - from.getUTCMonth() + 1;
  }
  const days = Math.floor((to.getTime() - from.getTime()) / 86_400_000);
  return (period === "week" ? Math.floor(days / 7) : days) + 1;
}
