/** A prediction is defined beside what it will be measured by: how often its goal is reached anyway. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post, put } from "../state/api";
import { definitions, readDefinitions, titleOf } from "../state/definitions";
import { count, duration, share } from "../state/format";
import { address, go } from "../state/router";
import { project } from "../state/session";
import { dayAgo } from "../state/zone";
import { t } from "../words";
import { rowOf } from "../parts/event-fields";
import { Amount, Check, Choice, More, TextField, Without } from "../parts/fields";
import { SaveForm } from "../parts/form";
import { freeId } from "../parts/ids";
import { Failed, Loading } from "../parts/notes";
import { Head } from "../parts/shell";
import { UNITS, spanOf } from "../parts/spans";
import { Suggest } from "../parts/suggest";
import type { EventDraft } from "../explore/draft";
import { EventBox } from "../explore/fields";
import { usePreview } from "../explore/preview";
import { type Requests, filterOfEvent } from "../explore/requests";
import { Trends } from "../explore/results/trends";

type Prediction = Schemas["PredictionResponse"];
const PREVIEW_DAYS = 30;

interface Draft {
  target: Prediction["target"];
  goal: EventDraft;
  at: EventDraft;
  value: string;
  within: string;
  unit: "minutes" | "hours" | "days";
}

/** Define a prediction, or change the one with an id. */
export function PredictionBuilder({ id }: { id?: string }): JSX.Element {
  const before = definitions.value?.predictions.find((one) => one.id === id);
  if (id && !definitions.value) return <Loading />;
  if (id && !before) return <Failed message={t("not_there")} />;
  const shown = before ? [before.goal, before.at].every(isShown) : true;
  return shown ? <Form before={before} /> : <Unshown before={before} />;
}

function Unshown({ before }: { before: Prediction | undefined }): JSX.Element {
  return (
    <>
      <Head
        title={t("edit_named", { name: titleOf(before ?? { id: "" }) })}
        back={address(project.value, "predictions", before?.id ?? "")}
      />
      <p class="withheld">{t("nested_conditions")}</p>
    </>
  );
}

/** Whether the form has fields for all conditions of an event. */
function isShown(filter: Schemas["EventFilter"]): boolean {
  return (filter.where ?? []).every((one) => rowOf(one));
}

function draftOf(before: Prediction | undefined): Draft {
  const event = (filter: Schemas["EventFilter"] | undefined): EventDraft => ({
    event: filter?.event ?? "",
    rows: (filter?.where ?? []).map(rowOf).filter((row) => row !== undefined),
  });
  const within = before ? spanOf(before.within_s) : { amount: "1", unit: "days" as const };
  const unit = within.unit === "seconds" ? "minutes" : within.unit;
  return {
    target: before?.target ?? "performs",
    goal: event(before?.goal),
    at: event(before?.at),
    value: before?.value ?? "",
    within: String((before?.within_s ?? 86_400) / UNITS[unit]),
    unit,
  };
}

/** What the form does not show, as it is. */
function kept(before: Prediction): Partial<Schemas["NewPrediction"]> {
  const {
    id: _,
    revision: __,
    version: ___,
    withheld: ____,
    withheld_because: _____,
    created_at: ______,
    updated_at: _______,
    ...others
  } = before;
  return others;
}

/** Whether the form has a field for an event to learn from: those with conditions are kept as they are. */
function isPlain(one: Schemas["EventFilter"]): boolean {
  return !one.where?.length;
}

function Form({ before }: { before: Prediction | undefined }): JSX.Element {
  const [name, setName] = useState(before?.name ?? "");
  const [draft, setDraft] = useState<Draft>(() => draftOf(before));
  const [counted, setCounted] = useState<string[]>(() => (before?.events ?? []).filter(isPlain).map((one) => one.event ?? ""));
  const [compared, setCompared] = useState(before ? before.challengers.length > 0 : true);
  const change = (part: Partial<Draft>) => setDraft({ ...draft, ...part });
  const within_s = Math.max(1, Math.round((Number(draft.within) || 1) * UNITS[draft.unit]));
  const back = address(project.value, "predictions", ...(before ? [before.id] : []));

  const save = async () => {
    const places = { project: project.value };
    const learned = counted.filter((one) => one.trim()).map((one) => ({ event: one.trim() }));
    const others = before?.challengers.length ? before.challengers : [{ kind: "logistic_adagrad" as const }];
    const body = {
      ...(before ? kept(before) : {}),
      name: name.trim(),
      target: draft.target,
      goal: filterOfEvent(draft.goal),
      at: filterOfEvent(draft.at),
      within_s,
      value: draft.target === "value" ? draft.value.trim() : null,
      events: [...(before?.events ?? []).filter((one) => !isPlain(one)), ...learned],
      challengers: draft.target === "value" ? (before?.challengers ?? []) : compared ? others : [],
    };
    const made = before
      ? await put("/api/projects/{project}/predictions/{id}", { ...places, id: before.id }, {
          ...body,
          revision: before.revision,
        })
      : await post("/api/projects/{project}/predictions", places, {
          ...body,
          id: freeId(name, "prediction", definitions.value?.predictions ?? []),
        });
    await readDefinitions();
    go(project.value, "predictions", made.id);
  };

  return (
    <>
      <Head
        title={before ? t("edit_named", { name: titleOf(before) }) : t("new_prediction")}
        note={t(before ? "edit_definition_note" : "new_prediction_note")}
        back={back}
      />
      <div class="explorer">
        <SaveForm
          class="card form controls"
          label={t(before ? "save" : "create_prediction")}
          cancel={back}
          onSave={save}
        >
          <TextField label={t("name")} value={name} onValue={setName} />
          <Choice
            wide
            label={t("predicts")}
            prefix="target"
            options={["performs", "does_not", "value"]}
            value={draft.target}
            onValue={(target) => change({ target })}
          />
          <EventBox
            title={t("goal")}
            value={draft.goal}
            onChange={(part) => change({ goal: { ...draft.goal, ...part } })}
          >
            {draft.target === "value" && (
              <Suggest
                label={t("predicted_property")}
                required
                wanted={{ of: "property", event: draft.goal.event }}
                value={draft.value}
                onValue={(value) => change({ value })}
              />
            )}
          </EventBox>
          <div class="row">
            <Amount step="any" label={t("within")} value={draft.within} onValue={(within) => change({ within })} />
            <Choice
              label={t("unit")}
              prefix="unit"
              options={["minutes", "hours", "days"]}
              value={draft.unit}
              onValue={(unit) => change({ unit })}
            />
          </div>
          <EventBox
            title={t("asked_at_event")}
            value={draft.at}
            onChange={(part) => change({ at: { ...draft.at, ...part } })}
          />
          <fieldset>
            <legend>{t("learned_from")}</legend>
            <p class="note small">{t("learned_from_note")}</p>
            {counted.map((one, at) => (
              <div class="step-line" key={at}>
                <Suggest
                  label={t("counted_event", { n: at + 1 })}
                  wanted={{ of: "event" }}
                  value={one}
                  onValue={(event) => setCounted(counted.map((old, place) => (place === at ? event : old)))}
                />
                <Without
                  label={t("remove_counted", { n: at + 1 })}
                  onClick={() => setCounted(counted.filter((_, place) => place !== at))}
                />
              </div>
            ))}
            <More
              label={t("add_counted")}
              disabled={counted.length >= 10}
              onClick={() => setCounted([...counted, ""])}
            />
          </fieldset>
          {draft.target !== "value" && <Check label={t("with_challenger")} value={compared} onValue={setCompared} />}
        </SaveForm>
        <section class="card answer" aria-label={t("preview")}>
          <header>
            <h2>{t("preview")}</h2>
          </header>
          {draft.target === "value" ? (
            <Values draft={draft} />
          ) : (
            <BaseRate draft={draft} within_s={within_s} />
          )}
        </section>
      </div>
    </>
  );
}

/** How many persons reach the goal anyway: what a model has to beat. */
function BaseRate({ draft, within_s }: { draft: Draft; within_s: number }): JSX.Element {
  const [from, to] = [draft.at.event.trim(), draft.goal.event.trim()];
  const steps = [filterOfEvent(draft.at), filterOfEvent(draft.goal)];
  const { answer, error, busy } = usePreview(
    "funnel",
    from && to
      ? {
          from: dayAgo(PREVIEW_DAYS - 1),
          funnel: {
            steps: steps.map((one) => ({ event: one.event ?? "", where: one.where })),
            window_s: within_s,
          },
        }
      : undefined,
  );
  if (!from || !to) return <p class="note">{t("needs_prediction")}</p>;
  if (error) return <Failed message={error} />;
  if (!answer) return <Loading />;
  const [asked = 0, reached = 0] = answer.reached;
  const rate = asked ? reached / asked : null;
  return (
    <div class={busy ? "figures-of old" : "figures-of"} aria-busy={busy}>
      <p class="big">{share(draft.target === "does_not" && rate !== null ? 1 - rate : rate)}</p>
      <p class="note">
        {t("base_rate_of", {
          n: count(asked),
          reached: count(reached),
          at: from,
          goal: to,
          time: duration(1_000 * within_s),
        })}
      </p>
      {asked === 0 && <p class="note">{t("nobody_in_range")}</p>}
    </div>
  );
}

function Values({ draft }: { draft: Draft }): JSX.Element {
  const property = draft.value.trim();
  const request: Requests["trends"] = {
    series: [{ ...filterOfEvent(draft.goal), measure: "average", property }],
    interval: "day",
    last: PREVIEW_DAYS,
  };
  const { answer, of, error } = usePreview("trends", property ? request : undefined);
  if (!property) return <p class="note">{t("needs_trends")}</p>;
  if (error) return <Failed message={error} />;
  return answer && of ? <Trends answer={answer} request={of} /> : <Loading />;
}
