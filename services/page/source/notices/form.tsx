/** The form of a subscription: where messages go, and of which events they are. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post, put } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { address, go } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { AreaField, Check, Choice, More, Select, TextField, Without, replaced } from "../parts/fields";
import { SaveForm } from "../parts/form";
import { freeId } from "../parts/ids";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { type Span, SpanField, secondsOf, spanOf } from "../parts/spans";

export type Subscription = Schemas["SubscriptionResponse"];
type Destination = Subscription["destination"];
type Where = Destination["type"];

const WHERE: readonly Where[] = ["webhook", "slack", "email", "kafka"];
const MAX_EVENTS = 20;
/** The types of events, by the kind of definition whose id narrows them. */
const TYPES = {
  alerts: ["incident.opened", "incident.closed", "incident.retracted"],
  segments: ["segment.entered", "segment.left", "segment.result"],
  funnels: ["funnel.reached", "funnel.corrected", "funnel.retracted", "funnel.timed_out", "funnel.result"],
  predictions: [
    "prediction.scored",
    "model.drift",
    "model.promotion",
    "model.refused",
    "model.learned_again",
    "prediction.result",
  ],
  metrics: ["metric.result"],
  cohorts: ["cohort.result"],
} as const;
type Kind = keyof typeof TYPES;
const EVENTS = Object.values(TYPES).flat();

interface Draft {
  name: string;
  where: Where;
  /** The address, recipients or topic. */
  to: string;
  events: { type: string; id: string }[];
  limited: boolean;
  age: Span;
  active: boolean;
}

function draftOf(one: Subscription | undefined): Draft {
  return {
    name: one?.name ?? "",
    where: one?.destination.type ?? "webhook",
    to: one ? targetOf(one.destination) : "",
    events: one ? one.events.map(({ type, id }) => ({ type, id: id ?? "" })) : [{ type: "incident.opened", id: "" }],
    limited: one?.max_age_s != null,
    age: spanOf(one?.max_age_s ?? 3_600),
    active: one?.active ?? true,
  };
}

/** Where messages go, as text. */
export function targetOf(to: Destination): string {
  switch (to.type) {
    case "webhook":
    case "slack":
      return to.url;
    case "email":
      return to.to.join(", ");
    case "kafka":
      return to.topic;
  }
}

function destinationOf({ where, to }: Draft): Destination {
  const target = to.trim();
  switch (where) {
    case "webhook":
    case "slack":
      return { type: where, url: target };
    case "email":
      return { type: "email", to: target.split(/[\s,;]+/).filter(Boolean) };
    case "kafka":
      return { type: "kafka", topic: target };
  }
}

export function SubscriptionForm({
  before,
  others,
}: {
  before: Subscription | undefined;
  others: Subscription[];
}): JSX.Element {
  const [draft, setDraft] = useState(() => draftOf(before));
  const change = (part: Partial<Draft>) => setDraft((held) => ({ ...held, ...part }));
  const back = address(project.value, "subscriptions", ...(before ? [before.id] : []));
  const save = async () => {
    const places = { project: project.value };
    const body: Schemas["Subscription"] = {
      name: draft.name.trim(),
      destination: destinationOf(draft),
      events: draft.events.map(({ type, id }) => ({ type, ...(id.trim() ? { id: id.trim() } : {}) })),
      max_age_s: draft.limited ? secondsOf(draft.age) : null,
      active: draft.active,
    };
    const made = before
      ? await put("/api/projects/{project}/subscriptions/{id}", { ...places, id: before.id }, {
          ...body,
          description: before.description,
          revision: before.revision,
        })
      : await post("/api/projects/{project}/subscriptions", places, {
          ...body,
          id: freeId(draft.name, draft.where, others),
        });
    go(project.value, "subscriptions", made.id);
  };
  const target = { label: t(`to_${draft.where}`), value: draft.to, onValue: (to: string) => change({ to }) };
  return (
    <>
      <Head
        title={before ? t("edit_named", { name: titleOf(before) }) : t("new_subscription")}
        note={t("subscription_form_note")}
        back={back}
      />
      <SaveForm
        class="card form"
        label={t(before ? "save" : "create_subscription")}
        cancel={back}
        onSave={save}
      >
        <TextField label={t("name")} value={draft.name} onValue={(name) => change({ name })} />
        <div class="row">
          <Choice
            label={t("destination")}
            prefix="destination"
            options={WHERE}
            value={draft.where}
            onValue={(where) => change({ where })}
          />
          {draft.where === "email" ? (
            <AreaField required rows={2} placeholder="ops@shop.example" {...target} />
          ) : (
            <TextField
              required
              max={2_000}
              placeholder={draft.where === "kafka" ? "shop.notices" : "https://hooks.shop.example/avila"}
              {...target}
            />
          )}
        </div>
        <p class="note small">{t(`about_${draft.where}`)}</p>
        <fieldset>
          <legend>{t("told_of")}</legend>
          {draft.events.map((one, at) => (
            <div class="step-line" key={at}>
              <Choice
                hidden
                label={t("told_event", { n: at + 1 })}
                prefix="notice"
                options={EVENTS}
                value={one.type as (typeof EVENTS)[number]}
                onValue={(type) => change({ events: replaced(draft.events, at, { type, id: "" }) })}
              />
              <Which
                label={t("told_which", { n: at + 1 })}
                kind={kindOf(one.type)}
                value={one.id}
                onValue={(id) => change({ events: replaced(draft.events, at, { id }) })}
              />
              <Without
                label={t("remove_told", { n: at + 1 })}
                onClick={() => change({ events: draft.events.filter((_, place) => place !== at) })}
              />
            </div>
          ))}
          {draft.events.length === 0 && <p class="note small">{t("told_by_alerts")}</p>}
          <More
            label={t("add_told")}
            disabled={draft.events.length >= MAX_EVENTS}
            onClick={() => change({ events: [...draft.events, { type: "segment.entered", id: "" }] })}
          />
        </fieldset>
        <Check label={t("told_limited")} value={draft.limited} onValue={(limited) => change({ limited })} />
        {draft.limited && <SpanField label={t("told_age")} value={draft.age} onValue={(age) => change({ age })} />}
        <Check label={t("is_active")} value={draft.active} onValue={(active) => change({ active })} />
      </SaveForm>
    </>
  );
}

function kindOf(type: string): Kind {
  return (Object.keys(TYPES) as Kind[]).find((kind) => (TYPES[kind] as readonly string[]).includes(type)) ?? "alerts";
}

/** One definition of a kind, or all of them. */
function Which({
  label,
  kind,
  value,
  onValue,
}: {
  label: string;
  kind: Kind;
  value: string;
  onValue: (id: string) => void;
}): JSX.Element {
  const { value: alerts } = useAsked(`${project.value}/alerts`, () =>
    get("/api/projects/{project}/alerts", { project: project.value }, { limit: 200 }),
  );
  const found = (kind === "alerts" ? alerts?.alerts : definitions.value?.[kind]) as { id: string; name: string }[] | undefined;
  const options = (found ?? []).map((one) => [one.id, titleOf(one)] as const);
  const gone = value && !options.some(([id]) => id === value) ? [[value, value] as const] : [];
  return <Select hidden label={label} options={[["", t("told_all")], ...gone, ...options]} value={value} onValue={onValue} />;
}
