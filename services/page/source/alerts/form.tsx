/** The form of an alert: what it measures, when it fires, and who is told. */
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post, put } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Amount, AreaField, Check, Choice, Select, TextField } from "../parts/fields";
import { SaveForm } from "../parts/form";
import { freeId } from "../parts/ids";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { SpanField } from "../parts/spans";
import { OneSeries } from "../explore/fields";
import { type Alert, type AlertDraft, KINDS, alertOf, blankAlert, draftOf, hasHistory, isShare } from "./draft";

const LISTS = { metric: "metrics", funnel: "funnels", segment: "segments", prediction: "predictions" } as const;
type Change = (part: Partial<AlertDraft>) => void;

export function AlertForm({ before, others }: { before: Alert | undefined; others: Alert[] }): JSX.Element {
  const [draft, setDraft] = useState<AlertDraft>(() => (before ? draftOf(before) : proposed()));
  const change: Change = (part) => setDraft((held) => ({ ...held, ...part }));
  const back = address(project.value, "alerts", ...(before ? [before.id] : []));
  const save = async () => {
    const places = { project: project.value };
    const body = alertOf(draft);
    const made = before
      ? await put("/api/projects/{project}/alerts/{id}", { ...places, id: before.id }, {
          ...body,
          description: before.description,
          revision: before.revision,
        })
      : await post("/api/projects/{project}/alerts", places, { ...body, id: freeId(draft.name, "alert", others) });
    go(project.value, "alerts", made.id);
  };
  return (
    <>
      <Head
        title={before ? t("edit_named", { name: titleOf(before) }) : t("new_alert")}
        note={t(before ? "edit_alert_note" : "new_alert_note")}
        back={back}
      />
      <SaveForm class="card form" label={t(before ? "save" : "create_alert")} cancel={back} onSave={save}>
        <div class="row">
          <TextField label={t("name")} value={draft.name} onValue={(name) => change({ name })} />
          <Choice
            label={t("severity")}
            prefix="severity"
            options={["info", "warning", "critical"]}
            value={draft.severity}
            onValue={(severity) => change({ severity })}
          />
        </div>
        <fieldset>
          <legend>{t("alert_measures")}</legend>
          <Measured draft={draft} change={change} />
        </fieldset>
        <fieldset>
          <legend>{t("alert_when")}</legend>
          <Condition draft={draft} change={change} />
        </fieldset>
        <fieldset>
          <legend>{t("alert_steps")}</legend>
          <div class="row">
            <SpanField label={t("alert_every")} value={draft.every} onValue={(every) => change({ every })} />
            <SpanField min={0} label={t("alert_pending_s")} value={draft.pending} onValue={(pending) => change({ pending })} />
            <SpanField min={0} label={t("alert_keep_s")} value={draft.keep} onValue={(keep) => change({ keep })} />
          </div>
          <div class="row">
            <Choice
              wide
              label={t("alert_without_data")}
              prefix="without_data"
              options={["keep", "ok", "alert"]}
              value={draft.noData}
              onValue={(noData) => change({ noData })}
            />
            <Amount min={0} label={t("alert_sample")} value={draft.sample} onValue={(sample) => change({ sample })} />
          </div>
          {hasHistory(draft.kind) && (
            <Check label={t("alert_complete")} value={draft.complete} onValue={(complete) => change({ complete })} />
          )}
          <Check label={t("is_active")} value={draft.active} onValue={(active) => change({ active })} />
        </fieldset>
        {mayWrite.value && <Told draft={draft} change={change} />}
      </SaveForm>
    </>
  );
}

/** A new alert, of the definition that the address names if it does, as a link of a page may. */
function proposed(): AlertDraft {
  const [kind, of] = route.value.more.split(":");
  const found = KINDS.find((one) => one === kind);
  if (!found || found === "query" || !of) return blankAlert();
  return { ...blankAlert(), kind: found, of };
}

function Measured({ draft, change }: { draft: AlertDraft; change: Change }): JSX.Element {
  const { kind } = draft;
  const choices = kind === "query" ? [] : ((definitions.value?.[LISTS[kind]] ?? []) as { id: string; name: string }[]);
  const ids = choices.map((one) => [one.id, titleOf(one)] as const);
  useEffect(() => {
    if (kind !== "query" && !draft.of && choices[0]) change({ of: choices[0].id });
  }, [kind, choices.length]);
  return (
    <>
      <div class="row">
        <Choice
          wide
          label={t("alert_kind")}
          prefix="alert_kind"
          options={KINDS}
          value={kind}
          onValue={(next) => change({ kind: next, of: "" })}
        />
        {kind !== "query" && (
          <Select
            wide
            required
            label={t("alert_which")}
            options={ids.some(([id]) => id === draft.of) ? ids : [[draft.of, draft.of || t("alert_none")], ...ids]}
            value={draft.of}
            onValue={(of) => change({ of })}
          />
        )}
        {kind === "segment" && (
          <Choice
            wide
            label={t("figure")}
            prefix="segment_figure"
            options={["size", "entered"]}
            value={draft.figure}
            onValue={(figure) => change({ figure })}
          />
        )}
      </div>
      {kind === "query" &&
        (draft.query ? (
          <AreaField code required rows={8} label={t("alert_query")} value={draft.query} onValue={(query) => change({ query })} />
        ) : (
          <OneSeries value={draft.series} onChange={(part) => change({ series: { ...draft.series, ...part } })} />
        ))}
      {(kind === "query" || kind === "funnel") && (
        <div class="row">
          <SpanField
            label={t(kind === "query" ? "alert_window" : "alert_entered_within")}
            value={draft.window}
            onValue={(window) => change({ window })}
          />
          {kind === "funnel" && (
            <>
              <SpanField label={t("alert_age")} value={draft.age} onValue={(age) => change({ age })} />
              <Select label={t("step")} options={stepsOf(draft.of)} value={draft.step} onValue={(step) => change({ step })} />
            </>
          )}
        </div>
      )}
    </>
  );
}

function stepsOf(funnel: string): [string, string][] {
  const steps = definitions.value?.funnels.find((one) => one.id === funnel)?.steps ?? [];
  return [
    ["", t("alert_last_step")],
    ...steps.slice(1).map((step, at): [string, string] => [String(at + 2), `${at + 2} · ${step.event}`]),
  ];
}

function Condition({ draft, change }: { draft: AlertDraft; change: Change }): JSX.Element {
  const compared = hasHistory(draft.kind) && draft.compare !== "none";
  const percent = isShare({ kind: draft.kind, relative: compared && draft.relative });
  return (
    <>
      {hasHistory(draft.kind) && (
        <div class="row">
          <Choice
            wide
            label={t("alert_compare")}
            prefix="alert_compare"
            options={["none", "previous", "week"]}
            value={draft.compare}
            onValue={(compare) => change({ compare })}
          />
          {compared && (
            <Check label={t("alert_relative")} value={draft.relative} onValue={(relative) => change({ relative })} />
          )}
        </div>
      )}
      <div class="row">
        <Choice
          wide
          label={t("comparison")}
          prefix="op"
          options={["lt", "lte", "gt", "gte"]}
          value={draft.op}
          onValue={(op) => change({ op })}
        />
        <Amount
          required
          min={null}
          step="any"
          label={t(percent ? "alert_percent" : "alert_threshold")}
          value={draft.value}
          onValue={(value) => change({ value })}
        />
      </div>
      {compared && <p class="note small">{t("alert_drop_note")}</p>}
    </>
  );
}

/** Which subscriptions are told of the incidents of this alert. */
function Told({ draft, change }: { draft: AlertDraft; change: Change }): JSX.Element {
  const { value } = useAsked(`${project.value}/subscriptions`, () =>
    get("/api/projects/{project}/subscriptions", { project: project.value }, { limit: 200 }),
  );
  const found: Schemas["SubscriptionResponse"][] = value?.subscriptions ?? [];
  return (
    <fieldset>
      <legend>{t("alert_notify")}</legend>
      {found.map((one) => (
        <Check
          key={one.id}
          label={titleOf(one)}
          value={draft.notify.includes(one.id)}
          onValue={(on) => change({ notify: on ? [...draft.notify, one.id] : draft.notify.filter((id) => id !== one.id) })}
        />
      ))}
      {value && found.length === 0 && (
        <p class="note small">
          {t("alert_nobody_told")}{" "}
          <a class="link" href={address(project.value, "subscriptions", "+new")}>
            {t("new_subscription")}
          </a>
        </p>
      )}
    </fieldset>
  );
}
