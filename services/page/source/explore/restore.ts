/** The draft that shows a definition, so that the form that defines one can change it. */
import type { Schemas } from "../state/api";
import { type Row, rowOf } from "../parts/event-fields";
import { spanOf } from "../parts/spans";
import { type Draft, type EventDraft, type RuleDraft, blank, blankDraft } from "./draft";

const DAY_S = 86_400;

/** The draft of a funnel; undefined if it has conditions that the form cannot show. */
export function draftOfFunnel(funnel: Schemas["FunnelResponse"]): Draft | undefined {
  const steps = funnel.steps.map(({ event, where, optional }) => {
    const rows = rowsOf(where);
    return rows && { event, rows, optional: optional ?? false };
  });
  const shown = steps.filter((one) => one !== undefined);
  if (shown.length < steps.length) return undefined;
  const { amount, unit } = spanOf(funnel.window_s);
  const by = funnel.breakdown?.property ?? "";
  return { ...blankDraft(), steps: shown, window: amount, unit, order: funnel.order, by };
}

/** The draft of a cohort; undefined if it has conditions that the form cannot show. */
export function draftOfCohort(cohort: Schemas["CohortResponse"]): Draft | undefined {
  const [start, back] = [eventOf(cohort.start), eventOf(cohort.return)];
  if (!start || !back) return undefined;
  return { ...blankDraft(), start, back, period: cohort.period, periods: String(cohort.periods), days: "90" };
}

/** The draft of a segment; undefined if the form has no fields for its rule. */
export function draftOfSegment(segment: Schemas["SegmentResponse"]): Draft | undefined {
  const { rule } = segment;
  const joined = "or" in rule ? "or" : "and";
  const parts = "and" in rule ? rule.and : "or" in rule ? rule.or : [rule];
  const rules = parts.map(ruleOf).filter((one) => one !== undefined);
  return rules.length && rules.length === parts.length ? { ...blankDraft(), rules, joined } : undefined;
}

function ruleOf(rule: Schemas["Rule"]): RuleDraft | undefined {
  if ("segment" in rule) return { ...blank.rule(), is: "segment", segment: rule.segment };
  if ("person" in rule) {
    const rows = rowsOf(rule.person);
    return rows && { ...blank.rule(), is: "person", rows };
  }
  if ("performed" in rule) return performed(rule.performed, "performed");
  if (!("not" in rule) || !("performed" in rule.not)) return undefined;
  const { at_least } = rule.not.performed;
  return at_least == null || at_least === 1 ? performed(rule.not.performed, "not_performed") : undefined;
}

function performed(one: Schemas["Performed"], is: "performed" | "not_performed"): RuleDraft | undefined {
  const rows = rowsOf(one.where);
  const within = one.within_s ?? 0;
  if (!rows || !one.event || one.at_most != null || one.exactly != null) return undefined;
  if (within < DAY_S || within % DAY_S) return undefined;
  return { ...blank.rule(), is, event: one.event, rows, times: String(one.at_least ?? 1), days: String(within / DAY_S) };
}

function eventOf(filter: Schemas["EventFilter"]): EventDraft | undefined {
  const rows = rowsOf(filter.where);
  return rows && { event: filter.event ?? "", rows };
}

function rowsOf(where: Schemas["Condition"][] | undefined): Row[] | undefined {
  const rows = (where ?? []).map(rowOf).filter((row) => row !== undefined);
  return rows.length === (where ?? []).length ? rows : undefined;
}
