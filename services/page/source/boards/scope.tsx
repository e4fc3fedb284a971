/** The days and the filters that apply to all tiles of a dashboard. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { t } from "../words";
import { Conditions, type Row, conditionOf, rowOf } from "../parts/event-fields";
import type { Filters, Range } from "./types";

const LAST = [1, 7, 30, 90, 365];

export function Scope({
  range,
  where,
  onRange,
  onWhere,
}: {
  range: Range;
  where: Filters;
  onRange: (range: Range) => void;
  onWhere: (where: Filters) => void;
}): JSX.Element {
  const own = !range.last_days && !range.from;
  const chosen = own ? "own" : range.last_days ? String(range.last_days) : "days";
  const choose = (value: string) => {
    const today = new Date().toISOString().slice(0, 10);
    if (value === "own") onRange({});
    else if (value === "days") onRange({ from: today, to: today });
    else onRange({ last_days: Number(value) });
  };
  return (
    <div class="scope">
      <label>
        <span>{t("board_range")}</span>
        <select aria-label={t("board_range")} value={chosen} onChange={(event) => choose(event.currentTarget.value)}>
          <option value="own">{t("range_own")}</option>
          {LAST.map((days) => (
            <option key={days} value={String(days)}>
              {days === 1 ? t("range_today") : t("range_last", { n: days })}
            </option>
          ))}
          {range.last_days && !LAST.includes(range.last_days) && (
            <option value={String(range.last_days)}>{t("range_last", { n: range.last_days })}</option>
          )}
          <option value="days">{t("range_days")}</option>
        </select>
      </label>
      {chosen === "days" && (
        <>
          <label>
            <span>{t("from")}</span>
            <input
              type="date"
              required
              value={range.from ?? ""}
              onChange={(event) => {
                const from = event.currentTarget.value;
                if (from) onRange({ from, to: range.to && range.to < from ? from : range.to });
              }}
            />
          </label>
          <label>
            <span>{t("to")}</span>
            <input
              type="date"
              min={range.from ?? undefined}
              value={range.to ?? ""}
              onChange={(event) => onRange({ from: range.from, to: event.currentTarget.value || null })}
            />
          </label>
        </>
      )}
      <WhereFields where={where} onWhere={onWhere} />
    </div>
  );
}

/** Filters are applied when they are complete: a half-written one is no question. */
function WhereFields({ where, onWhere }: { where: Filters; onWhere: (where: Filters) => void }): JSX.Element {
  const held = where.map((one) => rowOf(one as never));
  const [rows, setRows] = useState<Row[]>(held.filter((one): one is Row => one !== undefined));
  if (held.some((one) => one === undefined)) return <p class="note">{t("filters_kept", { n: where.length })}</p>;
  return (
    <details class="filters" open={where.length > 0}>
      <summary>{where.length ? t("filters_n", { n: where.length }) : t("filters")}</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onWhere(rows.map((row) => conditionOf(row)) as Filters);
        }}
      >
        <Conditions rows={rows} onChange={setRows} />
        <button type="submit">{t("filters_apply")}</button>
      </form>
    </details>
  );
}
