import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Schemas } from "../../state/api";
import { decimal, interval, share, shown } from "../../state/format";
import { t } from "../../words";
import { Chart, type Line } from "../../parts/chart";
import { letter } from "../fields";
import type { Requests } from "../requests";
import { Incomplete } from "../../parts/notes";
import { AsTable, Table } from "../../parts/table";

type Trend = Schemas["TrendResponse"];
const MOST_LINES = 12;

export function Trends({
  answer,
  request,
}: {
  answer: Schemas["TrendsResponse"];
  request: Requests["trends"];
}): JSX.Element {
  const { intervals, trends, previous } = answer;
  const lines = useMemo(() => linesOf(trends, previous?.trends, request), [answer]);
  const times = useMemo(() => intervals.map((one) => Date.parse(one.begin) / 1_000), [answer]);
  const incomplete = useMemo(() => intervals.map((one) => one.incomplete), [answer]);
  return (
    <>
      <Chart
        label={t("query_trends")}
        times={times}
        lines={lines.slice(0, MOST_LINES)}
        incomplete={incomplete}
        timeZone={answer.timezone}
        height={280}
        bars={lines.length === 1 && times.length < 40}
      />
      <Incomplete any={incomplete.some(Boolean)} />
      <h3 class="sub">{t("whole_range")}</h3>
      <Table
        caption={t("whole_range")}
        columns={[
          { title: t("series") },
          { title: t("total"), numeric: true, show: decimal },
          ...(previous
            ? [
                { title: t("before"), numeric: true, show: decimal },
                { title: t("change"), numeric: true, show: signed },
              ]
            : []),
        ]}
        rows={trends.map((one, at) => {
          const before = previous?.trends[at]?.total;
          return [
            titleOf(one, request),
            one.total,
            ...(previous ? [before, before && one.total !== null ? one.total / before - 1 : null] : []),
          ];
        })}
      />
      <AsTable
        caption={t("query_trends")}
        times={times}
        columns={[
          { title: t("from"), show: (begin: string) => interval(begin, answer.interval, answer.timezone) },
          ...lines.map((one) => ({ title: one.title, numeric: true, show: decimal })),
          { title: t("incomplete") },
        ]}
        rows={intervals.map((one, at) => [
          one.begin,
          ...lines.map((line) => line.values[at]),
          one.incomplete ? t("incomplete") : "",
        ])}
      />
    </>
  );
}

/** A share with its sign, as a change has. */
export function signed(value: number | null | undefined): string {
  return value !== null && value !== undefined && value > 0 ? `+${share(value)}` : share(value);
}

function linesOf(
  trends: Trend[],
  previous: Trend[] | undefined,
  request: Requests["trends"],
): Line[] {
  const own = trends.map((one) => ({ title: titleOf(one, request), values: one.values }));
  if (!previous || trends.length > 3) return own;
  return [
    ...own,
    ...previous.map((one) => ({
      title: t("before_of", { name: titleOf(one, request) }),
      values: one.values,
      faint: true,
    })),
  ];
}

/** The name of a trend, and the values that it is of. */
function titleOf(one: Trend, request: Requests["trends"]): string {
  const values = one.other ? [t("others")] : one.breakdown.map((value) => shown(value));
  const series = request.series.find((_, at) => letter(at) === one.series);
  return [series ? nameOf(series) : one.name, ...values].join(" · ");
}

/** What a series is, such as "purchase: sum of price"; of a formula the service has the name. */
function nameOf(series: Schemas["TrendSeries"]): string {
  const measure = t(`trend_${series.measure ?? "events"}`);
  const which = series.measure === "percentile" ? ` ${series.percentile ?? ""}` : "";
  const of = series.property ? ` ${series.property}` : "";
  return `${series.event ?? t("any_event")}: ${measure}${of}${which}`;
}
