/** What the form of an alert has been filled with, from an alert and back to one. */
import type { Schemas } from "../state/api";
import { rowOf } from "../parts/event-fields";
import { type Span, secondsOf, spanOf } from "../parts/spans";
import { type SeriesDraft, blank } from "../explore/draft";
import { MEASURES_OF_PROPERTY, conditionsOf } from "../explore/requests";

export type Alert = Schemas["AlertResponse"];
type Measured = Alert["measure"];
export type Kind = Measured["type"];
export const KINDS: readonly Kind[] = ["query", "metric", "funnel", "segment", "prediction"];

export interface AlertDraft {
  name: string;
  severity: Alert["severity"];
  kind: Kind;
  /** The id of what is measured, of a metric, funnel, segment or prediction. */
  of: string;
  series: SeriesDraft;
  /** The query as JSON, where the fields of a series cannot show it; "" otherwise. */
  query: string;
  figure: "size" | "entered";
  window: Span;
  age: Span;
  step: string;
  compare: Alert["compare"];
  relative: boolean;
  op: Alert["condition"]["op"];
  /** The threshold, in percent where the figure is a share. */
  value: string;
  every: Span;
  pending: Span;
  keep: Span;
  noData: Alert["no_data"];
  sample: string;
  complete: boolean;
  notify: string[];
  active: boolean;
}

/** A new alert: no events for ten minutes. */
export function blankAlert(): AlertDraft {
  return {
    name: "",
    severity: "warning",
    kind: "query",
    of: "",
    series: blank.series(),
    query: "",
    figure: "size",
    window: { amount: "10", unit: "minutes" },
    age: { amount: "10", unit: "minutes" },
    step: "",
    compare: "none",
    relative: false,
    op: "lt",
    value: "1",
    every: { amount: "1", unit: "minutes" },
    pending: { amount: "0", unit: "minutes" },
    keep: { amount: "0", unit: "minutes" },
    noData: "keep",
    sample: "0",
    complete: false,
    notify: [],
    active: true,
  };
}

/** Whether an alert of a kind may be compared with an earlier figure, and wait until it is complete. */
export function hasHistory(kind: Kind): boolean {
  return kind !== "segment" && kind !== "prediction";
}

/** Whether the figure that the condition is on is a share, which the form has in percent. */
export function isShare(one: { kind: Kind; relative: boolean }): boolean {
  return one.kind === "funnel" || (one.relative && hasHistory(one.kind));
}

export function draftOf(alert: Alert): AlertDraft {
  const { measure } = alert;
  const draft: AlertDraft = {
    ...blankAlert(),
    name: alert.name,
    severity: alert.severity,
    kind: measure.type,
    compare: alert.compare,
    relative: alert.relative,
    op: alert.condition.op,
    every: spanOf(alert.every_s),
    pending: spanOf(alert.pending_s),
    keep: spanOf(alert.keep_firing_s),
    noData: alert.no_data,
    sample: String(alert.min_sample),
    complete: alert.wait_complete,
    notify: alert.notify,
    active: alert.active,
  };
  const { value } = alert.condition;
  draft.value = String(isShare(draft) ? rounded(100 * value) : value);
  switch (measure.type) {
    case "query": {
      const series = seriesOf(measure.query);
      draft.window = spanOf(measure.window_s);
      if (series) draft.series = series;
      else draft.query = JSON.stringify(measure.query, null, 2);
      break;
    }
    case "metric":
      draft.of = measure.metric;
      break;
    case "funnel":
      draft.of = measure.funnel;
      draft.window = spanOf(measure.window_s);
      draft.age = spanOf(measure.age_s);
      draft.step = String(measure.step ?? "");
      break;
    case "segment":
      draft.of = measure.segment;
      draft.figure = measure.figure ?? "size";
      break;
    case "prediction":
      draft.of = measure.prediction;
  }
  return draft;
}

/** The alert of a draft; throws a `SyntaxError` if its query is no JSON. */
export function alertOf(draft: AlertDraft): Schemas["Alert"] {
  const history = hasHistory(draft.kind);
  const relative = history && draft.compare !== "none" && draft.relative;
  const value = Number(draft.value) || 0;
  return {
    measure: measureOf(draft),
    condition: { op: draft.op, value: isShare({ kind: draft.kind, relative }) ? rounded(value / 100) : value },
    every_s: secondsOf(draft.every),
    compare: history ? draft.compare : "none",
    relative,
    pending_s: secondsOf(draft.pending),
    keep_firing_s: secondsOf(draft.keep),
    no_data: draft.noData,
    min_sample: Math.floor(Number(draft.sample)) || 0,
    wait_complete: history && draft.complete,
    severity: draft.severity,
    notify: draft.notify,
    active: draft.active,
    name: draft.name.trim(),
  };
}

function measureOf(draft: AlertDraft): Measured {
  const window_s = secondsOf(draft.window);
  switch (draft.kind) {
    case "query":
      return { type: "query", query: queryOf(draft), window_s };
    case "metric":
      return { type: "metric", metric: draft.of };
    case "funnel":
      return {
        type: "funnel",
        funnel: draft.of,
        window_s,
        age_s: secondsOf(draft.age),
        step: draft.step ? Number(draft.step) : null,
      };
    case "segment":
      return { type: "segment", segment: draft.of, figure: draft.figure };
    case "prediction":
      return { type: "prediction", prediction: draft.of };
  }
}

function queryOf(draft: AlertDraft): Record<string, unknown> {
  if (draft.query) return JSON.parse(draft.query) as Record<string, unknown>;
  const { event, rows, measure, property, percentile } = draft.series;
  return {
    series: [
      {
        ...(event.trim() ? { event: event.trim() } : {}),
        ...(rows.length ? { where: conditionsOf(rows) } : {}),
        measure,
        ...(MEASURES_OF_PROPERTY.has(measure) ? { property: property.trim() } : {}),
        ...(measure === "percentile" ? { percentile: Number(percentile) || 50 } : {}),
      },
    ],
  };
}

/** The one series of a query; undefined for a query that has anything else. */
function seriesOf(query: Record<string, unknown>): SeriesDraft | undefined {
  const { series, ...others } = query as { series?: Schemas["TrendSeries"][] };
  const [one, ...more] = Array.isArray(series) ? series : [];
  if (!one || more.length || Object.keys(others).length) return undefined;
  const { event, where, measure, property, percentile, ...unknown } = one;
  const rows = (where ?? []).map(rowOf).filter((row) => row !== undefined);
  if (Object.keys(unknown).length || rows.length < (where ?? []).length) return undefined;
  return {
    event: event ?? "",
    rows,
    measure: measure ?? "events",
    property: property ?? "",
    percentile: String(percentile ?? 50),
  };
}

function rounded(value: number): number {
  return Number(value.toPrecision(12));
}
