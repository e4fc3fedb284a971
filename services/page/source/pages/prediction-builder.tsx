/** A prediction is defined beside what it will be measured by: how often its goal is reached anyway. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../state/api";
import { definitions, readDefinitions } from "../state/definitions";
import { count, duration, share } from "../state/format";
import { address, go } from "../state/router";
import { project } from "../state/session";
import { dayAgo } from "../state/zone";
import { t } from "../words";
import { freeId } from "../parts/ids";
import { Failed, Loading } from "../parts/notes";
import { Head } from "../parts/shell";
import { Suggest } from "../parts/suggest";
import type { EventDraft } from "../explore/draft";
import { Amount, Choice, EventBox, More, Without } from "../explore/fields";
import { usePreview } from "../explore/preview";
import { type Requests, filterOfEvent, whole } from "../explore/requests";
import { Trends } from "../explore/results/trends";

type Target = Schemas["PredictionResponse"]["target"];
const UNITS = { minutes: 60, hours: 3_600, days: 86_400 } as const;
type Unit = keyof typeof UNITS;
const PREVIEW_DAYS = 30;

interface Draft {
  target: Target;
  goal: EventDraft;
  at: EventDraft;
  value: string;
  within: string;
  unit: Unit;
}

export function PredictionBuilder(): JSX.Element {
  const [name, setName] = useState("");
  const [draft, setDraft] = useState<Draft>({
    target: "performs",
    goal: { event: "", rows: [] },
    at: { event: "", rows: [] },
    value: "",
    within: "1",
    unit: "days",
  });
  const [counted, setCounted] = useState<string[]>([]);
  const [compared, setCompared] = useState(true);
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const change = (part: Partial<Draft>) => setDraft({ ...draft, ...part });
  const within_s = whole(draft.within, 1) * UNITS[draft.unit];

  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    const body: Schemas["NewPrediction"] = {
      id: freeId(name, "prediction", definitions.value?.predictions ?? []),
      name: name.trim(),
      target: draft.target,
      goal: filterOfEvent(draft.goal),
      at: filterOfEvent(draft.at),
      within_s,
      ...(draft.target === "value" ? { value: draft.value.trim() } : {}),
      events: counted.filter((one) => one.trim()).map((one) => ({ event: one.trim() })),
      ...(compared && draft.target !== "value" ? { challengers: [{ kind: "logistic_adagrad" as const }] } : {}),
    };
    try {
      const made = await post("/api/projects/{project}/predictions", { project: project.value }, body);
      await readDefinitions();
      go(project.value, "predictions", made.id);
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
      setBusy(false);
    }
  };

  return (
    <>
      <Head
        title={t("new_prediction")}
        note={t("new_prediction_note")}
        back={address(project.value, "predictions")}
      />
      <div class="explorer">
        <form class="card form controls" onSubmit={(event) => void save(event)}>
          <label>
            {t("name")}
            <input value={name} maxLength={200} onInput={(event) => setName(event.currentTarget.value)} />
          </label>
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
            <Amount label={t("within")} value={draft.within} onValue={(within) => change({ within })} />
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
          {draft.target !== "value" && (
            <label class="check">
              <input
                type="checkbox"
                checked={compared}
                onChange={(event) => setCompared(event.currentTarget.checked)}
              />
              {t("with_challenger")}
            </label>
          )}
          {error && <Failed message={error} />}
          <div class="actions">
            <button type="submit" class="primary" disabled={busy}>
              {t("create_prediction")}
            </button>
            <a class="button quiet" href={address(project.value, "predictions")}>
              {t("cancel")}
            </a>
          </div>
        </form>
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
