/**
 * What an explorer's form has been filled with, also while it is unfinished.
 *
 * One draft serves all kinds of queries, so that a change of the kind keeps what both ask for. It is
 * kept in the address, from where it may have been sent by anybody: `restored` takes nothing of it
 * that has not the shape of a draft.
 */
import type { Schemas } from "../state/api";
import type { Row } from "../parts/event-fields";
import { UNIT_NAMES, type Unit } from "../parts/spans";

export type QueryName =
  | "trends"
  | "funnel"
  | "cohort"
  | "lifecycle"
  | "stickiness"
  | "paths"
  | "sessions"
  | "segment"
  | "events";
export const QUERY_NAMES: readonly QueryName[] = [
  "trends",
  "funnel",
  "cohort",
  "lifecycle",
  "stickiness",
  "paths",
  "sessions",
  "segment",
  "events",
];

export type Measure = NonNullable<Schemas["TrendSeries"]["measure"]>;
export type Interval = NonNullable<Schemas["TrendsQuery"]["interval"]>;
export type Period = NonNullable<Schemas["Cohort"]["period"]>;
export type Order = NonNullable<Schemas["Funnel"]["order"]>;

export interface EventDraft {
  event: string;
  rows: Row[];
}
export interface SeriesDraft extends EventDraft {
  measure: Measure;
  property: string;
  percentile: string;
}
export interface StepDraft extends EventDraft {
  optional: boolean;
}
/** A filter of all events: on a property of theirs, or of their persons, or on a segment. */
export interface FilterDraft extends Row {
  of: "event" | "person" | "segment";
}
export interface RuleDraft extends EventDraft {
  is: "performed" | "not_performed" | "person" | "segment";
  times: string;
  days: string;
  segment: string;
}

export interface Draft {
  series: SeriesDraft[];
  formula: string;
  by: string;
  byOf: "property" | "person" | "segment";
  compare: boolean;
  steps: StepDraft[];
  window: string;
  unit: Unit;
  order: Order;
  start: EventDraft;
  back: EventDraft;
  period: Period;
  periods: string;
  event: string;
  person: string;
  around: "start" | "end" | "through" | "any";
  anchor: string;
  hops: string;
  gap: string;
  rules: RuleDraft[];
  joined: "and" | "or";
  interval: Interval;
  /** How many days the range has, or "custom" from `from` to `to`. */
  days: string;
  from: string;
  to: string;
  filters: FilterDraft[];
  asOf: string;
}

export const DAYS = ["1", "7", "14", "30", "90", "180", "365", "custom"] as const;

const row: Row = { property: "", op: "equals", text: "" };
const event: EventDraft = { event: "", rows: [] };
const series: SeriesDraft = { ...event, measure: "events", property: "", percentile: "50" };
const step: StepDraft = { ...event, optional: false };
const rule: RuleDraft = { ...event, is: "performed", times: "1", days: "30", segment: "" };
const filter: FilterDraft = { ...row, of: "event" };

export const blank = {
  series: (): SeriesDraft => ({ ...series }),
  step: (): StepDraft => ({ ...step }),
  rule: (): RuleDraft => ({ ...rule }),
  filter: (): FilterDraft => ({ ...filter }),
};

export function blankDraft(): Draft {
  return {
    series: [blank.series()],
    formula: "",
    by: "",
    byOf: "property",
    compare: false,
    steps: [blank.step(), blank.step()],
    window: "7",
    unit: "days",
    order: "ordered",
    start: { ...event },
    back: { ...event },
    period: "week",
    periods: "12",
    event: "",
    person: "",
    around: "any",
    anchor: "",
    hops: "4",
    gap: "30",
    rules: [blank.rule()],
    joined: "and",
    interval: "day",
    days: "30",
    from: "",
    to: "",
    filters: [],
    asOf: "",
  };
}

const MOST = 32;
/** What an item of each list looks like; and the choices of each field that has some. */
const ITEMS: Record<string, object> = { series, steps: step, rules: rule, filters: filter, rows: row };
const CHOICES: Record<string, readonly string[]> = {
  measure: ["events", "persons", "events_per_person", "sum", "average", "minimum", "maximum", "percentile"],
  byOf: ["property", "person", "segment"],
  unit: UNIT_NAMES,
  order: ["ordered", "strict", "any"],
  period: ["day", "week", "month"],
  around: ["any", "start", "end", "through"],
  is: ["performed", "not_performed", "person", "segment"],
  of: ["event", "person", "segment"],
  joined: ["and", "or"],
  interval: ["minute", "hour", "day", "week", "month"],
  days: DAYS,
};

/** The draft that a text of an address has, or a blank one; whatever the text is. */
export function restored(text: string): Draft {
  try {
    return shaped(blankDraft(), JSON.parse(text)) as Draft;
  } catch {
    return blankDraft();
  }
}

/** The text for the address: what differs from a blank draft. */
export function kept(draft: Draft): string {
  const plain = blankDraft() as unknown as Record<string, unknown>;
  const changed = Object.entries(draft).filter(
    ([name, value]) => JSON.stringify(value) !== JSON.stringify(plain[name]),
  );
  return JSON.stringify(Object.fromEntries(changed));
}

function shaped(pattern: unknown, given: unknown, name = ""): unknown {
  if (Array.isArray(pattern)) {
    if (!Array.isArray(given) || (name !== "rows" && name !== "filters" && !given.length)) return pattern;
    return given.slice(0, MOST).map((one) => shaped(ITEMS[name], one));
  }
  if (typeof pattern === "object" && pattern !== null) {
    const from = (typeof given === "object" && given !== null ? given : {}) as Record<string, unknown>;
    return Object.fromEntries(
      Object.entries(pattern).map(([key, value]) => [
        key,
        Object.hasOwn(from, key) ? shaped(value, from[key], key) : value,
      ]),
    );
  }
  if (typeof given !== typeof pattern) return pattern;
  // The days of a rule are any number; those of the range are a choice.
  const choices = CHOICES[name];
  const free = name === "days" && /^\d{1,3}$/.test(String(given));
  return choices && !free && !choices.includes(given as string) ? pattern : given;
}
