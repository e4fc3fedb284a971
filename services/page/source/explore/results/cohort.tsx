import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../../state/api";
import { project } from "../../state/session";
import { count, day, month, share } from "../../state/format";
import { t } from "../../words";
import type { Period } from "../draft";
import type { Requests } from "../requests";
import { Persons } from "../../parts/persons";
import { Incomplete } from "../../parts/notes";
import { AsTable } from "../../parts/table";

type Cell = Schemas["CohortCellResponse"];

export function Cohort({
  answer,
  request,
  period,
}: {
  answer: Schemas["CohortQueryResponse"];
  request: Requests["cohort"];
  period: Period;
}): JSX.Element {
  const [orLater, setOrLater] = useState(false);
  const [cell, setCell] = useState<{ begin: string; column: number }>();
  const value = (cell: Cell) => (orLater ? cell.returned_or_later : cell.returned);
  const begun = (begin: string) => (period === "month" ? month(begin) : day(begin));
  const width = Math.max(1, ...answer.rows.map((row) => row.cells.filter((one) => one.returned !== null).length));
  const rows = [...answer.rows].reverse();
  if (!rows.length) return <p class="note">{t("nobody_in_range")}</p>;
  return (
    <>
      <div class="tabs">
        <button type="button" aria-pressed={!orLater} onClick={() => setOrLater(false)}>
          {t(`on_${period}`)}
        </button>
        <button type="button" aria-pressed={orLater} onClick={() => setOrLater(true)}>
          {t("or_later")}
        </button>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label={t("query_cohort")}>
        <table class="grid">
          <caption class="sr">{t("query_cohort")}</caption>
          <thead>
            <tr>
              <th scope="col">{t(`began_${period}`)}</th>
              <th scope="col" class="number">
                {t("persons")}
              </th>
              {Array.from({ length: width }, (_, at) => (
                <th key={at} scope="col" class="number">
                  {at}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            <tr>
              <th scope="row">{t("mean")}</th>
              <td />
              {Array.from({ length: width }, (_, at) => (
                <td key={at} class="number">
                  {share((orLater ? answer.mean_or_later : answer.mean)[at])}
                </td>
              ))}
            </tr>
            {rows.map((row) => (
              <tr key={row.begin}>
                <th scope="row">{begun(row.begin)}</th>
                <td class="number">{count(row.persons)}</td>
                {row.cells.slice(0, width).map((cell, at) => {
                  const found = value(cell);
                  if (found === null) return <td key={at} />;
                  const part = row.persons ? found / row.persons : 0;
                  const paint = { "--part": `${Math.round(62 * part)}%` } as Record<string, string>;
                  return (
                    <td key={at} class={cell.incomplete ? "cell incomplete" : "cell"} style={paint}>
                      <button
                        type="button"
                        title={`${count(found)}${cell.incomplete ? ` · ${t("incomplete")}` : ""}`}
                        aria-label={`${share(part)}, ${t("show_persons_of", { step: `${begun(row.begin)} +${at}`, persons: count(found) })}`}
                        onClick={() => setCell({ begin: row.begin, column: at })}
                      >
                        {share(part, part === 1 || part === 0 ? 0 : 1)}
                      </button>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Incomplete any={answer.incomplete} />
      <AsTable
        caption={t("query_cohort")}
        columns={[
          { title: t(`began_${period}`), show: begun },
          { title: t("persons"), numeric: true, show: count },
          ...Array.from({ length: width }, (_, at) => ({ title: String(at), numeric: true, show: count })),
        ]}
        rows={rows.map((row) => [row.begin, row.persons, ...row.cells.slice(0, width).map(value)])}
      />
      {cell && (
        <Persons
          title={t("who_returned", { begin: begun(cell.begin), n: cell.column })}
          read={async ({ after, limit }) => {
            const counted = orLater ? "returned_or_later" : "returned";
            const found = await post(
              "/api/projects/{project}/query/cohort",
              { project: project.value },
              { ...request, as_of: answer.positions, persons: { ...cell, counted, after, limit } },
            );
            return found.persons ?? { persons: [], next: null };
          }}
          onClose={() => setCell(undefined)}
        />
      )}
    </>
  );
}
