/** Lifecycle and stickiness: how persons come back, in columns. */
import type { JSX } from "preact";
import type { Schemas } from "../../state/api";
import { count, interval } from "../../state/format";
import { t } from "../../words";
import { Columns } from "../../parts/columns";
import { Incomplete, Unsettled } from "../../parts/notes";
import { AsTable } from "../../parts/table";

export function Lifecycle({ answer }: { answer: Schemas["LifecycleResponse"] }): JSX.Element {
  const named = (begin: string) => interval(begin, answer.interval, answer.timezone);
  const incomplete = answer.intervals.map((one) => one.incomplete);
  const stacks = [
    { title: t("life_new"), values: answer.new },
    { title: t("life_returning"), values: answer.returning },
    { title: t("life_resurrecting"), values: answer.resurrecting },
    { title: t("life_dormant"), values: answer.dormant, down: true },
  ];
  return (
    <>
      <Columns
        label={t("query_lifecycle")}
        titles={answer.intervals.map((one) => named(one.begin))}
        stacks={stacks}
        incomplete={incomplete}
      />
      <Incomplete any={incomplete.some(Boolean)} />
      <AsTable
        caption={t("query_lifecycle")}
        columns={[
          { title: t("from"), show: named },
          ...stacks.map((one) => ({ title: one.title, numeric: true, show: count })),
          { title: t("incomplete") },
        ]}
        rows={answer.intervals.map((one, at) => [
          one.begin,
          ...stacks.map((stack) => stack.values[at]),
          one.incomplete ? t("incomplete") : "",
        ])}
      />
    </>
  );
}

export function Stickiness({ answer }: { answer: Schemas["StickinessResponse"] }): JSX.Element {
  const titles = answer.exactly.map((_, at) => String(at + 1));
  return (
    <>
      <p class="note">{t(`sticky_${answer.interval}` as "sticky_day", { n: count(answer.intervals.length) })}</p>
      <Columns
        label={t("query_stickiness")}
        titles={titles}
        stacks={[{ title: t("persons"), values: answer.exactly }]}
      />
      <Unsettled any={answer.incomplete} />
      <AsTable
        caption={t("query_stickiness")}
        columns={[
          { title: t("active_intervals") },
          { title: t("exactly_so_many"), numeric: true, show: count },
          { title: t("or_more"), numeric: true, show: count },
        ]}
        rows={titles.map((title, at) => [title, answer.exactly[at], answer.at_least[at]])}
      />
    </>
  );
}
