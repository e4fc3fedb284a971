import { useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Schemas } from "../../state/api";
import { count, day, month, share } from "../../state/format";
import { t } from "../../words";
import type { Period } from "../draft";
import { Incomplete } from "../../parts/notes";
import { AsTable } from "../../parts/table";

type Cell = Schemas["CohortCellResponse"];

export function Cohort({
  answer,
  period,
}: {
  answer: Schemas["CohortQueryResponse"];
  period: Period;
}): JSX.Element {
  const [orLater, setOrLater] = useState(false);
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
            {!orLater && (
              <tr>
                <th scope="row">{t("mean")}</th>
                <td />
                {Array.from({ length: width }, (_, at) => (
                  <td key={at} class="number">
                    {answer.mean[at] === null ? "–" : share(answer.mean[at])}
                  </td>
                ))}
              </tr>
            )}
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
                      <span title={`${count(found)}${cell.incomplete ? ` · ${t("incomplete")}` : ""}`}>
                        {share(part, part === 1 || part === 0 ? 0 : 1)}
                      </span>
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
    </>
  );
}
