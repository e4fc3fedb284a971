/** What a metric shows: its figure of this moment, and its chart. */
import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get } from "../state/api";
import { titleOf } from "../state/definitions";
import { latest } from "../state/live";
import type { LiveMetric } from "../state/live";
import { count, decimal } from "../state/format";
import { project } from "../state/session";
import { t } from "../words";
import { Chart, type Line } from "./chart";
import { Loading } from "./notes";
import { useAsked } from "./resource";

type Metric = Schemas["MetricResponse"];
type Bucket = Schemas["BucketResponse"];

/** What a metric measures, in words. */
export function measured(metric: Metric): string {
  const of = metric.property ?? metric.filter.event ?? "";
  return `${t(`measure_${metric.measure}`)}${of ? ` · ${of}` : ""}`;
}

/** What a metric says of this moment, in one number. */
export function nowOf(metric: Metric, live: LiveMetric | undefined): string {
  const shown = live?.previous ?? live;
  if (!shown) return "–";
  if (metric.measure === "persons") return count(shown.active?.at(-1)?.persons);
  if (metric.measure === "percentiles") return decimal(Object.values(shown.now.percentiles ?? {})[0]);
  if (metric.measure === "top") return shown.now.top?.[0] ? String(shown.now.top[0].value) : "–";
  return decimal(shown.now.value);
}

/** The lines of a metric's chart: its value, or its percentiles, or its windows. */
export function linesOf(metric: Metric, buckets: Bucket[]): Line[] {
  if (metric.measure === "percentiles") {
    const names = [...new Set(buckets.flatMap((one) => Object.keys(one.percentiles ?? {})))];
    return names.slice(0, 5).map((name) => ({
      title: `p${name}`,
      values: buckets.map((one) => one.percentiles?.[name] ?? null),
    }));
  }
  if (metric.measure === "top") {
    return [{ title: t("events"), values: buckets.map((one) => one.events) }];
  }
  return [{ title: t(`measure_${metric.measure}`), values: buckets.map((one) => one.value) }];
}

export function MetricChart({ metric, height = 200 }: { metric: Metric; height?: number }): JSX.Element {
  const live = latest.value.metrics.get(metric.id);
  const { value } = useAsked(
    `${project.value}/${metric.id}/chart`,
    () =>
      get(
        "/api/projects/{project}/metrics/{id}/results",
        { project: project.value, id: metric.id },
        { limit: 240 },
      ),
    `${live?.version}/${live?.state}/${live?.buckets.at(-1)?.begin}`,
  );
  const kept = (value?.previous ?? value)?.buckets;
  const buckets = useMemo(() => merged(kept ?? [], live), [kept, live]);
  const lines = useMemo(() => linesOf(metric, buckets), [metric, buckets]);
  const times = useMemo(() => buckets.map((one) => Date.parse(one.begin) / 1_000), [buckets]);
  const incomplete = useMemo(() => unfinished(buckets, live ?? value), [buckets]);
  if (!value) return <Loading />;
  if (!buckets.length) return <p class="note">{t("nothing_measured")}</p>;
  return (
    <Chart
      label={titleOf(metric)}
      times={times}
      lines={lines}
      height={height}
      bars={buckets.length < 40}
      incomplete={incomplete}
      timeZone={dayZone(metric)}
    />
  );
}

/** Which buckets may still change. */
export function unfinished(buckets: Bucket[], of: { complete_until: string | null } | undefined): boolean[] {
  const until = of?.complete_until ? Date.parse(of.complete_until) : 0;
  return buckets.map((one) => Date.parse(one.end) > until);
}

/** The time zone of a metric by days, whose days are on the axis; of others the reader's. */
export function dayZone(metric: Metric): string | undefined {
  return metric.bucket_s === 86_400 ? metric.timezone : undefined;
}

/** The buckets of REST, with those that the live connection has newer. */
export function merged(kept: Bucket[], live: LiveMetric | undefined): Bucket[] {
  const newer = new Map((live?.previous ?? live)?.buckets.map((one) => [one.begin, one]));
  const known = new Set(kept.map((one) => one.begin));
  return [
    ...kept.map((one) => newer.get(one.begin) ?? one),
    ...[...newer.values()].filter((one) => !known.has(one.begin)),
  ];
}
