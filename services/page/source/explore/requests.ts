/** The request that a draft stands for; undefined while something that it needs is missing. */
import type { Schemas } from "../state/api";
import { dayAgo } from "../state/zone";
import { type Row, conditionOf } from "../parts/event-fields";
import { UNITS } from "../parts/spans";
import type { Draft, EventDraft, FilterDraft, QueryName, RuleDraft, SeriesDraft } from "./draft";

export interface Requests {
  trends: Schemas["TrendsQuery"];
  funnel: Schemas["FunnelQuery"];
  cohort: Schemas["CohortQuery"];
  lifecycle: Schemas["LifecycleQuery"];
  stickiness: Schemas["StickinessQuery"];
  paths: Schemas["PathsQuery"];
  sessions: Schemas["SessionsQuery"];
  segment: Schemas["SegmentQuery"];
  events: Schemas["EventsQuery"];
}

const LISTED = 25;

export function requestOf<N extends QueryName>(name: N, draft: Draft): Requests[N] | undefined {
  return MAKERS[name](draft);
}

const MAKERS: { [N in QueryName]: (draft: Draft) => Requests[N] | undefined } = {
  trends: (draft) => {
    const series = draft.series.map(seriesOf);
    if (series.some((one) => !one)) return undefined;
    return {
      ...common(draft),
      series: series.filter((one) => one !== undefined),
      formulas: draft.formula.trim() ? [{ formula: draft.formula.trim() }] : [],
      breakdown: draft.by.trim()
        ? [{ [draft.byOf]: draft.by.trim() } as unknown as Schemas["BreakdownBy"]]
        : [],
      top: 5,
      interval: draft.interval,
      compare: draft.compare,
    };
  },
  funnel: (draft) => {
    const funnel = funnelOf(draft);
    const by = draft.by.trim();
    return funnel && { ...common(draft), funnel, breakdown: by ? { [draft.byOf]: by } : null };
  },
  cohort: (draft) => ({ ...common(draft), cohort: cohortOf(draft) }),
  lifecycle: (draft) => ({ ...common(draft), event: named(draft.event), interval: periodOf(draft) }),
  stickiness: (draft) => ({ ...common(draft), event: named(draft.event), interval: periodOf(draft) }),
  paths: (draft) => {
    const anchor = draft.anchor.trim();
    if (draft.around !== "any" && !anchor) return undefined;
    return {
      ...common(draft),
      ...(draft.around === "any" ? {} : { [draft.around]: anchor }),
      steps: whole(draft.hops, 4),
      gap_s: 60 * whole(draft.gap, 30),
      edges: 6,
    };
  },
  sessions: (draft) => ({
    ...common(draft),
    interval: draft.interval,
    gap_s: 60 * whole(draft.gap, 30),
    top: 8,
  }),
  segment: (draft) => {
    const rule = ruleOf(draft);
    const { where, as_of } = common(draft);
    return rule && { where, as_of, rule, limit: LISTED };
  },
  events: (draft) => ({
    ...common(draft),
    event: named(draft.event),
    person: named(draft.person),
    limit: LISTED,
  }),
};

function common(draft: Draft) {
  const custom = draft.days === "custom";
  const from = custom ? draft.from : dayAgo(whole(draft.days, 30) - 1);
  return {
    where: draft.filters.filter(finished).map(filterOf),
    from: from || undefined,
    to: (custom && draft.to) || undefined,
    as_of: positionsOf(draft.asOf),
  };
}

/** The positions of a text such as `0:120,1:98`; undefined for one that is none. */
export function positionsOf(text: string): Record<string, number> | undefined {
  if (!/^\d{1,5}:\d{1,15}(,\d{1,5}:\d{1,15})*$/.test(text)) return undefined;
  return Object.fromEntries(
    text.split(",").map((one) => {
      const [partition = "", offset = ""] = one.split(":");
      return [partition, Number(offset)];
    }),
  );
}

/** Positions as a text for an address. */
export function textOfPositions(positions: Record<string, number>): string {
  return Object.entries(positions)
    .map(([partition, offset]) => `${partition}:${offset}`)
    .join(",");
}

function seriesOf(one: SeriesDraft): Schemas["TrendSeries"] | undefined {
  const numeric = MEASURES_OF_PROPERTY.has(one.measure);
  if (numeric && !one.property.trim()) return undefined;
  return {
    event: named(one.event),
    where: conditionsOf(one.rows),
    measure: one.measure,
    ...(numeric ? { property: one.property.trim() } : {}),
    ...(one.measure === "percentile" ? { percentile: Number(one.percentile) || 50 } : {}),
  };
}

export const MEASURES_OF_PROPERTY: ReadonlySet<string> = new Set([
  "sum",
  "average",
  "minimum",
  "maximum",
  "percentile",
]);

export function funnelOf(draft: Draft): Schemas["Funnel"] | undefined {
  if (draft.steps.length < 2 || draft.steps.some((step) => !step.event.trim())) return undefined;
  return {
    steps: draft.steps.map((step, at) => ({
      event: step.event.trim(),
      where: conditionsOf(step.rows),
      optional: at > 0 && draft.order !== "any" && step.optional,
    })),
    window_s: Math.max(1, Math.round((Number(draft.window) || 7) * UNITS[draft.unit])),
    order: draft.order,
  };
}

export function cohortOf(draft: Draft): Schemas["Cohort"] {
  return {
    start: filterOfEvent(draft.start),
    return: filterOfEvent(draft.back),
    period: draft.period,
    periods: Math.min(whole(draft.periods, 12), 366),
  };
}

export function ruleOf(draft: Draft): Schemas["Rule"] | undefined {
  const rules = draft.rules.map(ruleOfOne);
  const made = rules.filter((one) => one !== undefined);
  if (!made.length || made.length < rules.length) return undefined;
  if (made.length === 1) return made[0];
  return draft.joined === "and" ? { and: made } : { or: made };
}

function ruleOfOne(one: RuleDraft): Schemas["Rule"] | undefined {
  if (one.is === "segment") return one.segment ? { segment: one.segment } : undefined;
  if (one.is === "person") {
    const conditions = conditionsOf(one.rows);
    return conditions.length ? { person: conditions } : undefined;
  }
  if (!one.event.trim()) return undefined;
  const performed = {
    event: one.event.trim(),
    where: conditionsOf(one.rows),
    ...(one.is === "performed" ? { at_least: whole(one.times, 1) } : {}),
    within_s: 86_400 * Math.min(whole(one.days, 30), 366),
  };
  return one.is === "performed" ? { performed } : { not: { performed: { ...performed, at_least: 1 } } };
}

export function filterOfEvent(one: EventDraft): Schemas["EventFilter"] {
  return { event: named(one.event), where: conditionsOf(one.rows) };
}

/** Conditions that are finished: one without a property is still being written. */
export function conditionsOf(rows: Row[]): Schemas["Condition"][] {
  return rows.filter((one) => one.property.trim()).map(conditionOf);
}

function finished(one: FilterDraft): boolean {
  return one.of === "segment" ? one.text !== "" : one.property.trim() !== "";
}

function filterOf(one: FilterDraft): Schemas["QueryFilter"] {
  if (one.of === "segment") return { segment: one.text };
  return one.of === "person" ? { person: conditionOf(one) } : conditionOf(one);
}

function periodOf(draft: Draft): "day" | "week" | "month" {
  return draft.interval === "week" || draft.interval === "month" ? draft.interval : "day";
}

function named(text: string): string | undefined {
  return text.trim() || undefined;
}

export function whole(text: string, otherwise: number): number {
  const found = Math.floor(Number(text));
  return found >= 1 ? found : otherwise;
}
