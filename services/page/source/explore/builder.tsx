/** The form of a funnel, cohort or segment, beside a preview of what will be counted live. */
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, put } from "../state/api";
import { definitions, readDefinitions, titleOf } from "../state/definitions";
import { address, go, keep, route } from "../state/router";
import { project } from "../state/session";
import { followZone } from "../state/zone";
import { t } from "../words";
import { AreaField, TextField } from "../parts/fields";
import { SaveForm } from "../parts/form";
import { freeId } from "../parts/ids";
import { Failed, Loading } from "../parts/notes";
import { Head } from "../parts/shell";
import { type Draft, kept, restored } from "./draft";
import { Answer } from "./explorer";
import { QueryFields } from "./form";
import { usePreview } from "./preview";
import { type Requests, requestOf } from "./requests";
import { draftOfCohort, draftOfFunnel, draftOfSegment } from "./restore";
import { type Plan, savable } from "./save";

const QUERIES = { funnels: "funnel", cohorts: "cohort", segments: "segment" } as const;
const TITLES = { funnels: "new_funnel", cohorts: "new_cohort", segments: "new_segment" } as const;
const LABELS = { funnels: "create_funnel", cohorts: "save_cohorts", segments: "save_segments" } as const;
type Kind = keyof typeof QUERIES;
type Defined = Schemas["FunnelResponse"] | Schemas["CohortResponse"] | Schemas["SegmentResponse"];

/** Define one of a kind, or change the one with an id. */
export function Builder({ kind, id }: { kind: Kind; id?: string }): JSX.Element {
  const before = (definitions.value?.[kind] as Defined[] | undefined)?.find((one) => one.id === id);
  if (id && !definitions.value) return <Loading />;
  if (id && !before) return <Failed message={t("not_there")} />;
  if (!before) return <Form kind={kind} before={undefined} first={undefined} />;
  const first = draftOf(kind, before);
  if (first) return <Form kind={kind} before={before} first={first} />;
  if ("rule" in before) return <RuleForm before={before} />;
  return (
    <>
      <Title kind={kind} before={before} />
      <p class="withheld">{t("nested_conditions")}</p>
    </>
  );
}

function draftOf(kind: Kind, before: Defined): Draft | undefined {
  switch (kind) {
    case "funnels":
      return draftOfFunnel(before as Schemas["FunnelResponse"]);
    case "cohorts":
      return draftOfCohort(before as Schemas["CohortResponse"]);
    case "segments":
      return draftOfSegment(before as Schemas["SegmentResponse"]);
  }
}

function Title({ kind, before }: { kind: Kind; before: Defined | undefined }): JSX.Element {
  return (
    <Head
      title={before ? t("edit_named", { name: titleOf(before) }) : t(TITLES[kind])}
      note={t(before ? "edit_definition_note" : `${TITLES[kind]}_note`)}
      back={address(project.value, kind, ...(before ? [before.id] : []))}
    />
  );
}

function Form({
  kind,
  before,
  first,
}: {
  kind: Kind;
  before: Defined | undefined;
  first: Draft | undefined;
}): JSX.Element {
  const query = QUERIES[kind];
  const [name, setName] = useState(before?.name ?? "");
  const [draft, setDraft] = useState<Draft>(() => first ?? restored(route.peek().more));
  useEffect(followZone, []);
  const change = (part: Partial<Draft>) => {
    const next = { ...draft, asOf: "", ...part };
    setDraft(next);
    if (!before) keep(address(project.value, kind, "+new", kept(next)));
  };
  const request = withKept(requestOf(query, draft), before);
  const preview = usePreview(query, request);
  const plan = savable(query, draft);
  const reason = plan && "reason" in plan ? plan.reason : "";
  const save = async () => {
    if (!plan || "reason" in plan) throw new Error(reason || t(`needs_${query}` as "needs_funnel"));
    const made = before
      ? await replace(kind, before, plan, name)
      : await plan.create(freeId(name.trim() || plan.name, query, definitions.value?.[kind] ?? []), name.trim() || plan.name.slice(0, 200));
    await readDefinitions();
    go(project.value, kind, made.id);
  };
  return (
    <>
      <Title kind={kind} before={before} />
      <div class="explorer">
        <SaveForm
          class="card form controls"
          label={t(before ? "save" : LABELS[kind])}
          cancel={address(project.value, kind, ...(before ? [before.id] : []))}
          onSave={save}
        >
          <TextField
            label={t("name")}
            placeholder={plan && "name" in plan ? plan.name.slice(0, 200) : undefined}
            value={name}
            onValue={setName}
          />
          <QueryFields name={query} draft={draft} onChange={change} />
          {reason && <p class="note">{reason}</p>}
        </SaveForm>
        <section class="card answer" aria-label={t("answer")} aria-busy={preview.busy}>
          <Answer name={query} draft={draft} request={request} preview={preview} />
        </section>
      </div>
    </>
  );
}

/** The fields of a definition that no form has: they stay as they are. */
function others(before: Defined): Record<string, unknown> {
  const { id: _, version: __, created_at: ___, updated_at: ____, ...fields } = before;
  return fields;
}

async function replace(kind: Kind, before: Defined, plan: Plan, name: string): Promise<{ id: string }> {
  const path = `/api/projects/{project}/${kind}/{id}` as "/api/projects/{project}/funnels/{id}";
  const fields = others(before);
  const { breakdown, ...body } = plan.body as { breakdown?: object | null };
  // Of a breakdown, the form has its property alone.
  const by = kind === "funnels" ? { breakdown: breakdown && { ...(fields.breakdown as object | null), ...breakdown } } : {};
  const changed = { ...fields, ...body, ...by, name: name.trim() };
  return put(path, { project: project.peek(), id: before.id }, changed as unknown as Schemas["ChangedFunnel"]);
}

/** A preview of a definition with what the form does not show of it. */
function withKept<R extends Requests[keyof Requests] | undefined>(request: R, before: Defined | undefined): R {
  if (!request || !before || !("timezone" in before)) return request;
  const { timezone } = before;
  if (!("funnel" in request) || !("exclusions" in before)) return { ...request, timezone };
  const { exclusions, once, hold_constant } = before;
  return { ...request, timezone, funnel: { exclusions, once, hold_constant, ...request.funnel } };
}

/** A segment whose rule has more than the form has fields for: as JSON, with the same preview. */
function RuleForm({ before }: { before: Schemas["SegmentResponse"] }): JSX.Element {
  const [name, setName] = useState(before.name);
  const [text, setText] = useState(() => JSON.stringify(before.rule, null, 2));
  const rule = parsed(text);
  const request = rule && { rule, limit: 25 };
  const preview = usePreview("segment", request);
  const save = async () => {
    if (!rule) throw new Error(t("plan_not_json"));
    const body = { ...others(before), rule, name: name.trim() } as unknown as Schemas["ChangedSegment"];
    await put("/api/projects/{project}/segments/{id}", { project: project.peek(), id: before.id }, body);
    await readDefinitions();
    go(project.value, "segments", before.id);
  };
  return (
    <>
      <Title kind="segments" before={before} />
      <div class="explorer">
        <SaveForm
          class="card form controls"
          label={t("save")}
          cancel={address(project.value, "segments", before.id)}
          onSave={save}
        >
          <TextField label={t("name")} value={name} onValue={setName} />
          <AreaField code required rows={16} label={t("rule_json")} value={text} onValue={setText} />
        </SaveForm>
        <section class="card answer" aria-label={t("answer")} aria-busy={preview.busy}>
          <Answer name="segment" draft={restored("")} request={request} preview={preview} />
        </section>
      </div>
    </>
  );
}

function parsed(text: string): Schemas["Rule"] | undefined {
  try {
    return JSON.parse(text) as Schemas["Rule"];
  } catch {
    return undefined; // still being written
  }
}
