/** Save what an explorer asks for as a definition, which counts on live: in one click. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../state/api";
import { definitions, readDefinitions } from "../state/definitions";
import { go } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { SaveForm } from "../parts/form";
import { freeId } from "../parts/ids";
import type { Draft, QueryName } from "./draft";
import { cohortOf, conditionsOf, funnelOf, ruleOf } from "./requests";

type Condition = Schemas["Condition"];
type Saved = "funnels" | "cohorts" | "segments" | "metrics";
export interface Plan {
  kind: Saved;
  name: string;
  /** The definition without its id and name. */
  body: object;
  create: (id: string, name: string) => Promise<{ id: string }>;
}
/** A definition to create, or the reason why there is none for this. */
type Savable = Plan | { reason: string };

const MEASURES: Partial<Record<string, Schemas["Metric"]["measure"]>> = {
  events: "events",
  persons: "persons",
  sum: "sum",
  average: "average",
  minimum: "minimum",
  maximum: "maximum",
  percentile: "percentiles",
};
const BUCKETS = {
  minute: { bucket_s: 60 },
  hour: { bucket_s: 3_600 },
  day: { bucket_s: 86_400 },
  week: { interval: "week" },
  month: { interval: "month" },
} as const;

export function savable(name: QueryName, draft: Draft): Savable | undefined {
  const places = { project: project.value };
  const filters = draft.filters.filter((one) => one.of === "segment" ? one.text : one.property.trim());
  const foreign = filters.some((one) => one.of !== "event");
  const where = conditionsOf(filters);
  switch (name) {
    case "funnel": {
      const funnel = funnelOf(draft);
      if (!funnel) return undefined;
      if (foreign || (where.length && draft.order === "strict")) return { reason: t("save_filters") };
      const by = draft.by.trim();
      if (by && draft.byOf !== "property") return { reason: t("save_breakdown") };
      const breakdown = by ? { property: by } : null;
      const steps = funnel.steps.map((step) => ({ ...step, where: both(step.where, where) }));
      const body = { ...funnel, steps, breakdown };
      return {
        body,
        kind: "funnels",
        name: steps.map((step) => step.event).join(" → "),
        create: (id, named) =>
          post("/api/projects/{project}/funnels", places, {
            ...body,
            id,
            name: named,
          }),
      };
    }
    case "cohort": {
      if (foreign) return { reason: t("save_filters") };
      const cohort = cohortOf(draft);
      const any = t("any_event");
      const body = {
        ...cohort,
        start: { ...cohort.start, where: both(cohort.start.where, where) },
        return: { ...cohort.return, where: both(cohort.return?.where, where) },
      };
      return {
        body,
        kind: "cohorts",
        name: `${t("query_cohort")}: ${cohort.start.event ?? any} → ${cohort.return?.event ?? any}`,
        create: (id, named) =>
          post("/api/projects/{project}/cohorts", places, {
            ...body,
            id,
            name: named,
          }),
      };
    }
    case "segment": {
      const rule = ruleOf(draft);
      if (!rule) return undefined;
      if (filters.length) return { reason: t("save_rule_filters") };
      return {
        body: { rule },
        kind: "segments",
        name: draft.rules
          .map((one) => `${t(`rule_${one.is}`)} ${one.event || one.segment || one.rows[0]?.property || ""}`)
          .join(`, ${t(`joined_${draft.joined}`)} `),
        create: (id, named) => post("/api/projects/{project}/segments", places, { rule, id, name: named }),
      };
    }
    case "trends": {
      const [series, ...more] = draft.series;
      const measure = series && MEASURES[series.measure];
      if (!series || !measure || more.length || draft.formula.trim() || draft.by.trim()) {
        return { reason: t("save_one_series") };
      }
      if (foreign) return { reason: t("save_filters") };
      const of = measure !== "events" && measure !== "persons" ? series.property.trim() : "";
      const body = {
        measure,
        filter: { event: series.event.trim() || undefined, where: both(conditionsOf(series.rows), where) },
        ...(of ? { property: of } : {}),
        ...(measure === "percentiles" ? { percentiles: [Number(series.percentile) || 50] } : {}),
        ...BUCKETS[draft.interval],
      };
      return {
        body,
        kind: "metrics",
        name: [t(`measure_${measure}`), of, series.event || t("any_event")].filter(Boolean).join(" · "),
        create: (id, named) =>
          post("/api/projects/{project}/metrics", places, {
            ...body,
            id,
            name: named,
          }),
      };
    }
    default:
      return undefined;
  }
}

function both(own: Condition[] | undefined, where: Condition[]): Condition[] {
  return [...(own ?? []), ...where];
}

export function Save({ plan }: { plan: Plan }): JSX.Element {
  const [name, setName] = useState<string>();
  const save = async () => {
    const named = (name?.trim() || plan.name).slice(0, 200);
    const others = definitions.value?.[plan.kind] ?? [];
    const made = await plan.create(freeId(named, plan.kind, others), named);
    await readDefinitions();
    go(project.value, plan.kind, made.id);
  };
  return (
    <SaveForm class="save" label={t(`save_${plan.kind}`)} onSave={save}>
      <input
        aria-label={t("name")}
        maxLength={200}
        value={name ?? plan.name}
        onInput={(event) => setName(event.currentTarget.value)}
      />
    </SaveForm>
  );
}
