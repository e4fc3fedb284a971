import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { ApiError, type Schemas, post, put } from "../state/api";
import { definitions, readDefinitions, titleOf } from "../state/definitions";
import { address, go } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Conditions, type Row, conditionOf, rowOf } from "../parts/event-fields";
import { Icon } from "../parts/icons";
import { freeId } from "../parts/ids";
import { Failed, Loading } from "../parts/notes";
import { Head } from "../parts/shell";
import { Suggest } from "../parts/suggest";

type Funnel = Schemas["FunnelResponse"];
interface Step {
  event: string;
  optional: boolean;
  rows: Row[];
}
const UNITS = { minutes: 60, hours: 3_600, days: 86_400 } as const;
type Unit = keyof typeof UNITS;

export function FunnelBuilder({ id }: { id?: string }): JSX.Element {
  const before = definitions.value?.funnels.find((one) => one.id === id);
  if (id && !definitions.value) return <Loading />;
  if (id && !before) return <Failed message={t("not_there")} />;
  return <Form before={before} />;
}

function Form({ before }: { before: Funnel | undefined }): JSX.Element {
  const [name, setName] = useState(before?.name ?? "");
  const [steps, setSteps] = useState<Step[]>(before ? before.steps.map(stepOf) : [blank(), blank()]);
  const [unit, setUnit] = useState<Unit>(unitOf(before?.window_s ?? 7 * 86_400));
  const [amount, setAmount] = useState(String((before?.window_s ?? 7 * 86_400) / UNITS[unit]));
  const [order, setOrder] = useState<Funnel["order"]>(before?.order ?? "ordered");
  const [breakdown, setBreakdown] = useState(before?.breakdown?.property ?? "");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const unshown = before?.steps.some((step) => step.where?.some((one) => !rowOf(one)));

  const change = (at: number, part: Partial<Step>) =>
    setSteps(steps.map((step, place) => (place === at ? { ...step, ...part } : step)));
  const move = (at: number, by: number) => {
    const next = [...steps];
    const [taken] = next.splice(at, 1);
    if (taken) next.splice(at + by, 0, taken);
    setSteps(next);
  };

  const save = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    const body = {
      ...(before ? kept(before) : {}),
      name: name.trim(),
      window_s: Math.round(Number(amount) * UNITS[unit]),
      order,
      steps: steps.map((step, at) => ({
        event: step.event.trim(),
        where: step.rows.map(conditionOf),
        optional: at > 0 && order !== "any" && step.optional,
      })),
      breakdown: breakdown.trim()
        ? { attribution: "first" as const, ...before?.breakdown, property: breakdown.trim() }
        : null,
    };
    try {
      const made = before
        ? await put("/api/projects/{project}/funnels/{id}", { project: project.value, id: before.id }, {
            ...body,
            revision: before.revision,
          })
        : await post("/api/projects/{project}/funnels", { project: project.value }, {
            ...body,
            id: freeId(name, "funnel", definitions.value?.funnels ?? []),
          });
      await readDefinitions();
      go(project.value, "funnels", made.id);
    } catch (failure) {
      setError(failure instanceof ApiError ? failure.message : String(failure));
      setBusy(false);
    }
  };

  return (
    <>
      <Head
        title={before ? t("edit_funnel", { name: titleOf(before) }) : t("new_funnel")}
        note={before ? t("edit_funnel_note") : t("new_funnel_note")}
        back={address(project.value, "funnels", ...(before ? [before.id] : []))}
      />
      {unshown ? (
        <Failed message={t("form_cannot_show")} />
      ) : (
        <form class="form" onSubmit={(event) => void save(event)}>
          <label>
            {t("name")}
            <input value={name} maxLength={200} onInput={(event) => setName(event.currentTarget.value)} />
          </label>
          <fieldset>
            <legend>{t("steps")}</legend>
            {steps.map((step, at) => (
              <div class="step" key={at}>
                <div class="step-line">
                  <span class="step-number">{at + 1}</span>
                  <Suggest
                    label={t("event_of_step", { n: at + 1 })}
                    placeholder={t("event_name")}
                    required
                    wanted={{ of: "event" }}
                    value={step.event}
                    onValue={(event) => change(at, { event })}
                  />
                  <button
                    type="button"
                    class="quiet"
                    disabled={at === 0}
                    aria-label={t("move_up", { n: at + 1 })}
                    onClick={() => move(at, -1)}
                  >
                    <Icon name="up" />
                  </button>
                  <button
                    type="button"
                    class="quiet"
                    disabled={at === steps.length - 1}
                    aria-label={t("move_down", { n: at + 1 })}
                    onClick={() => move(at, 1)}
                  >
                    <Icon name="down" />
                  </button>
                  <button
                    type="button"
                    class="quiet"
                    disabled={steps.length <= 2}
                    aria-label={t("remove_step", { n: at + 1 })}
                    onClick={() => setSteps(steps.filter((_, place) => place !== at))}
                  >
                    <Icon name="close" />
                  </button>
                </div>
                <Conditions event={step.event} rows={step.rows} onChange={(rows) => change(at, { rows })} />
                {at > 0 && order !== "any" && (
                  <label class="check condition-check">
                    <input
                      type="checkbox"
                      checked={step.optional}
                      onChange={(event) => change(at, { optional: event.currentTarget.checked })}
                    />
                    {t("optional_step")}
                  </label>
                )}
              </div>
            ))}
            <button
              type="button"
              disabled={steps.length >= 32}
              onClick={() => setSteps([...steps, blank()])}
            >
              <Icon name="plus" />
              {t("add_step")}
            </button>
          </fieldset>
          <div class="row">
            <label class="narrow">
              {t("window")}
              <input
                type="number"
                min="1"
                step="any"
                required
                value={amount}
                onInput={(event) => setAmount(event.currentTarget.value)}
              />
            </label>
            <label class="narrow">
              {t("unit")}
              <select value={unit} onChange={(event) => setUnit(event.currentTarget.value as Unit)}>
                {(Object.keys(UNITS) as Unit[]).map((one) => (
                  <option key={one} value={one}>
                    {t(one)}
                  </option>
                ))}
              </select>
            </label>
            <label>
              {t("order")}
              <select
                value={order}
                onChange={(event) => setOrder(event.currentTarget.value as Funnel["order"])}
              >
                {(["ordered", "strict", "any"] as const).map((one) => (
                  <option key={one} value={one}>
                    {t(`order_${one}`)}
                  </option>
                ))}
              </select>
            </label>
            <label>
              {t("breakdown")}
              <Suggest
                label={t("breakdown")}
                placeholder={t("no_breakdown")}
                wanted={{ of: "property" }}
                value={breakdown}
                onValue={setBreakdown}
              />
            </label>
          </div>
          {error && <Failed message={error} />}
          <div class="actions">
            <button type="submit" class="primary" disabled={busy}>
              {before ? t("save") : t("create_funnel")}
            </button>
            <a class="button quiet" href={address(project.value, "funnels", ...(before ? [before.id] : []))}>
              {t("cancel")}
            </a>
          </div>
        </form>
      )}
    </>
  );
}

function blank(): Step {
  return { event: "", optional: false, rows: [] };
}

function stepOf(step: Funnel["steps"][number]): Step {
  const rows = (step.where ?? []).map(rowOf).filter((row) => row !== undefined);
  return { event: step.event, optional: step.optional ?? false, rows };
}

/** The fields that this form does not show, as they are. */
function kept(before: Funnel) {
  const { description, exclusions, once, hold_constant, entries, since, timezone, week_start } = before;
  return { description, exclusions, once, hold_constant, entries, since, timezone, week_start };
}

function unitOf(seconds: number): Unit {
  if (seconds % UNITS.days === 0) return "days";
  return seconds % UNITS.hours === 0 ? "hours" : "minutes";
}
