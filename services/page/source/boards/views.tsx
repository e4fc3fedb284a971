/** How the figures of a tile are drawn, by its kind. */
import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Schemas } from "../state/api";
import { count, decimal, share, shown } from "../state/format";
import type { LiveEvent, LiveFunnel, LiveMetric, LivePrediction, LiveSegment } from "../state/live";
import { Bars } from "../parts/bars";
import { Chart } from "../parts/chart";
import { EventRows } from "../parts/events";
import { Grid } from "../parts/grid";
import { Spark } from "../parts/spark";
import { Table } from "../parts/table";
import { t } from "../words";
import { linesOf, merged } from "../parts/metric-chart";
import { type Figures, type Shown, chartHeight } from "./types";

type Results<T> = T & { previous?: T | null };

/** What the live connection says of the definition that a tile shows; undefined on a link. */
export interface Live {
  funnel?: LiveFunnel;
  metric?: LiveMetric;
  segment?: LiveSegment;
  prediction?: LivePrediction;
  events?: readonly LiveEvent[];
}

/** Draw a tile. Its figures are those of the endpoint that has answered it. */
export function TileView({ tile, figures, live }: { tile: Shown; figures: Figures; live: Live }): JSX.Element {
  const found = figures.figures as never;
  const stream = figures.answered_by === "stream";
  switch (tile.kind) {
    case "text":
      return <p class="tile-text">{tile.text}</p>;
    case "funnel":
      return stream ? <StreamFunnel results={found} live={live.funnel} /> : <StoreFunnel answer={found} />;
    case "cohort":
      return stream ? <StreamGrid results={found} name={tile.name} /> : <StoreGrid answer={found} name={tile.name} period={figures.period ?? "day"} />;
    case "metric":
      return stream ? (
        <StreamMetric results={found} live={live.metric} tile={tile} />
      ) : (
        <Trend answer={found} tile={tile} />
      );
    case "active":
      return <Active results={found} live={live.metric} />;
    case "segment":
      return stream ? <Segment results={found} live={live.segment} /> : <Big value={count((found as Size).size)} />;
    case "prediction":
      return <Prediction results={found} live={live.prediction} />;
    case "feed":
      return <Feed rows={live.events ?? eventsOf(found)} />;
    case "trend":
      return <Trend answer={found} tile={tile} />;
    case "number":
      return <Number answer={found} />;
    case "top":
      return <Top answer={found} name={tile.name} />;
    case "query":
      return <Rows rows={found} name={tile.name} />;
  }
}

type Size = { size: number };

function Big({ value, children }: { value: string; children?: JSX.Element | null }): JSX.Element {
  return (
    <div class="tile-number">
      <span class="big">{value}</span>
      {children}
    </div>
  );
}

function StreamFunnel({
  results,
  live,
}: {
  results: Results<Schemas["FunnelResultsResponse"]>;
  live: LiveFunnel | undefined;
}): JSX.Element {
  const now = live?.previous ?? live ?? results.previous ?? results;
  return <Bars steps={now.totals.steps} compact />;
}

function StoreFunnel({ answer }: { answer: Schemas["FunnelQueryResponse"] }): JSX.Element {
  const steps = answer.steps.map((event, at) => {
    const reached = answer.reached[at] ?? 0;
    const before = answer.reached[at - 1] ?? reached;
    return {
      step: at + 1,
      event,
      reached,
      conversion: answer.conversion[at] ?? 0,
      conversion_from_previous: before ? reached / before : 0,
      entries: null,
    };
  });
  return <Bars steps={steps} compact />;
}

function StreamGrid({
  results,
  name,
}: {
  results: Results<Schemas["CohortResultsResponse"]>;
  name: string;
}): JSX.Element {
  const now = results.previous ?? results;
  if (!now.rows.length) return <p class="note">{t("nobody_yet")}</p>;
  return <Grid rows={now.rows} period={now.cohort.period} periods={now.cohort.periods} caption={name} most={8} />;
}

function StoreGrid({
  answer,
  name,
  period,
}: {
  answer: Schemas["CohortQueryResponse"];
  name: string;
  period: NonNullable<Figures["period"]>;
}): JSX.Element {
  if (!answer.rows.length) return <p class="note">{t("nobody_yet")}</p>;
  const rows = answer.rows.map(({ begin, persons, cells }) => ({
    begin,
    persons,
    returned: cells.map((one) => one.returned ?? 0),
    returned_or_later: cells.map((one) => one.returned_or_later ?? 0),
    breakdown: [],
  }));
  const columns = Math.max(...rows.map((row) => row.returned.length));
  return <Grid rows={rows} period={period} periods={columns} caption={name} most={8} />;
}

function StreamMetric({
  results,
  live,
  tile,
}: {
  results: Results<Schemas["MetricResultsResponse"]>;
  live: LiveMetric | undefined;
  tile: Shown;
}): JSX.Element {
  const now = results.previous ?? results;
  const buckets = useMemo(() => merged(now.buckets, live), [now, live]);
  const lines = useMemo(() => linesOf(now.metric, buckets), [now, buckets]);
  const times = useMemo(() => buckets.map((one) => Date.parse(one.begin) / 1_000), [buckets]);
  if (!buckets.length) return <p class="note">{t("nothing_measured")}</p>;
  return (
    <Chart
      label={tile.name}
      times={times}
      lines={lines}
      height={chartHeight(tile.height)}
      bars={buckets.length < 40}
    />
  );
}

function Active({
  results,
  live,
}: {
  results: Results<Schemas["MetricResultsResponse"]>;
  live: LiveMetric | undefined;
}): JSX.Element {
  const windows = (live?.previous ?? live ?? results.previous ?? results).active;
  if (!windows) return <p class="note">{t("tile_not_persons")}</p>;
  return (
    <dl class="tile-windows">
      {windows.map((one) => (
        <div key={one.seconds}>
          <dt>{t("active_in", { n: (one.seconds ?? 0) / 60 })}</dt>
          <dd class="big">{count(one.persons)}</dd>
        </div>
      ))}
    </dl>
  );
}

function Segment({
  results,
  live,
}: {
  results: Results<Schemas["SegmentResultsResponse"]>;
  live: LiveSegment | undefined;
}): JSX.Element {
  const now = results.previous ?? results;
  const size = (live?.previous ?? live)?.persons ?? now.persons;
  return (
    <Big value={count(size)}>
      <Spark values={now.days.slice(-60).map((one) => one.persons)} />
    </Big>
  );
}

function Prediction({
  results,
  live,
}: {
  results: Results<Schemas["PredictionResultsResponse"]>;
  live: LivePrediction | undefined;
}): JSX.Element {
  const now = live?.previous ?? live ?? results.previous ?? results;
  const champion = now.models[0];
  const loss = champion?.window?.log_loss;
  return (
    <dl class="facts tile-facts">
      <dt>{t("questions")}</dt>
      <dd>{count(now.asked)}</dd>
      <dt>{t("learned")}</dt>
      <dd>{count(champion?.learned)}</dd>
      {loss !== undefined && (
        <>
          <dt>{t("log_loss")}</dt>
          <dd>{t("against_base", { own: decimal(loss, 4), base: decimal(champion?.window?.base_log_loss, 4) })}</dd>
        </>
      )}
      <dt>{t("verdict")}</dt>
      <dd>{now.withheld ? t("withheld") : t("better_than_base")}</dd>
    </dl>
  );
}

function eventsOf(answer: { events: { event_id: string; event: string; timestamp: string }[] }): LiveEvent[] {
  return answer.events.map((one) => ({
    event_id: one.event_id,
    event: one.event,
    timestamp: Date.parse(one.timestamp),
    person_id: "",
    properties: "",
  }));
}

function Feed({ rows }: { rows: readonly LiveEvent[] }): JSX.Element {
  if (!rows.length) return <p class="note">{t("feed_waits")}</p>;
  return <EventRows rows={rows.slice(0, 20)} compact />;
}

function named(trend: Schemas["TrendResponse"]): string {
  const by = trend.other ? t("others") : trend.breakdown.map(shown).join(", ");
  return by ? (trend.name ? `${trend.name} · ${by}` : by) : trend.name;
}

function Trend({ answer, tile }: { answer: Schemas["TrendsResponse"]; tile: Shown }): JSX.Element {
  const times = useMemo(() => answer.intervals.map((one) => Date.parse(one.begin) / 1_000), [answer]);
  const lines = useMemo(
    () => [
      ...answer.trends.slice(0, 5).map((one) => ({ title: named(one), values: one.values })),
      ...(answer.previous?.trends.slice(0, 1) ?? []).map((one) => ({
        title: t("period_before"),
        values: one.values,
      })),
    ],
    [answer],
  );
  return (
    <Chart label={tile.name} times={times} lines={lines} height={chartHeight(tile.height)} bars={times.length < 40} />
  );
}

function Number({ answer }: { answer: Schemas["TrendsResponse"] }): JSX.Element {
  const now = answer.trends[0]?.total;
  const before = answer.previous?.trends[0]?.total;
  const change = now !== null && now !== undefined && before ? now / before - 1 : undefined;
  return (
    <Big value={decimal(now)}>
      <>
        {answer.previous && (
          <span class={change === undefined ? "change" : change < 0 ? "change less" : "change more"}>
            {change === undefined
              ? t("tile_before", { n: decimal(before) })
              : t("tile_change", {
                  change: `${change > 0 ? "+" : ""}${share(change)}`,
                  n: decimal(before),
                })}
          </span>
        )}
        <Spark values={(answer.trends[0]?.values ?? []).map((one) => one ?? 0)} />
      </>
    </Big>
  );
}

function Top({ answer, name }: { answer: Schemas["ValuesResponse"]; name: string }): JSX.Element {
  if (!answer.values.length) return <p class="note">{t("nothing_measured")}</p>;
  return (
    <Table
      caption={name}
      columns={[{ title: t("value") }, { title: t("events"), numeric: true, show: count }]}
      rows={answer.values.map((one) => [String(one.value), one.events])}
    />
  );
}

function Rows({ rows, name }: { rows: Record<string, unknown>[]; name: string }): JSX.Element {
  const names = Object.keys(rows[0] ?? {});
  if (!names.length) return <p class="note">{t("nothing_measured")}</p>;
  return (
    <Table
      caption={name}
      columns={names.map((one) => ({
        title: one,
        numeric: typeof rows[0]?.[one] === "number",
        show: (value: unknown) => (typeof value === "number" ? decimal(value) : shown(value)),
      }))}
      rows={rows.map((row) => names.map((one) => row[one] as string | number | null))}
    />
  );
}
