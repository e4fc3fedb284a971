/** Tracking plans: what the properties of events must be, tried on the past before they hold. */
import { useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { type Schemas, get, post, put, remove } from "../state/api";
import { count, moment, share, shown } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Delete } from "../parts/delete";
import { Amount, AreaField, Choice } from "../parts/fields";
import { SaveForm, useRun } from "../parts/form";
import { Icon } from "../parts/icons";
import { freeId } from "../parts/ids";
import { Empty, Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { Suggest } from "../parts/suggest";
import { Table } from "../parts/table";

type Plan = Schemas["PlanResponse"];

const EXAMPLE = {
  type: "object",
  properties: { amount: { type: "number", minimum: 0 } },
  required: ["amount"],
};

export function Plans(): JSX.Element {
  const { id } = route.value;
  const places = { project: project.value };
  const { value, error } = useAsked(`${project.value}/plans/${id}`, () =>
    get("/api/projects/{project}/plans", places, { limit: 200 }),
  );
  if (error && !value) return <Failed message={error} />;
  if (!value) return <Loading />;
  if (!id) return <PlanList plans={value.plans} />;
  const held = value.plans.find((one) => one.id === id);
  if (!held && id !== "+new") return <Failed message={t("plan_gone")} />;
  return <PlanForm held={held} others={value.plans} />;
}

function PlanList({ plans }: { plans: Plan[] }): JSX.Element {
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "plans", "+new")}>
      <Icon name="plus" />
      {t("new_plan")}
    </a>
  );
  return (
    <>
      <Head title={t("page_plans")} note={t("plans_note")}>
        {create}
      </Head>
      {plans.length === 0 && <Empty title={t("no_plans")}>{t("no_plans_note")}</Empty>}
      {plans.length > 0 && (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("event")}</th>
                <th scope="col">{t("plan_mode")}</th>
                <th scope="col">{t("changed")}</th>
              </tr>
            </thead>
            <tbody>
              {plans.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    <a href={address(project.value, "plans", one.id)}>{one.event}</a>
                  </th>
                  <td>{t(`plan_${one.mode}`)}</td>
                  <td>{moment(one.updated_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function PlanForm({ held, others }: { held: Plan | undefined; others: Plan[] }): JSX.Element {
  const places = { project: project.value };
  const [event, setEvent] = useState(held?.event ?? "");
  const [mode, setMode] = useState<Plan["mode"]>(held?.mode ?? "observe");
  const [text, setText] = useState(JSON.stringify(held?.schema ?? EXAMPLE, null, 2));
  const [days, setDays] = useState("7");
  const [found, setFound] = useState<Schemas["PlanCheckResponse"]>();
  const trial = useRun();
  const schema = () => {
    try {
      return JSON.parse(text) as Record<string, never>;
    } catch {
      throw new Error(t("plan_not_json"));
    }
  };
  const check = () =>
    trial.run(async () => {
      setFound(undefined);
      const body = { event: event.trim(), schema: schema(), days: Number(days) };
      setFound(await post("/api/projects/{project}/plan-check", places, body));
    });
  const save = async () => {
    const id = held?.id ?? freeId(event, "plan", others);
    const body = { event: event.trim(), schema: schema(), mode, ...(held ? { revision: held.revision } : {}) };
    await put("/api/projects/{project}/plans/{id}", { ...places, id }, body);
    go(project.value, "plans");
  };
  return (
    <>
      <Head title={held ? held.event : t("new_plan")} note={t("plan_form_note")} back={address(project.value, "plans")}>
        {held && mayWrite.value && (
          <Delete
            name={held.event}
            run={() => remove("/api/projects/{project}/plans/{id}", { ...places, id: held.id })}
            then={() => go(project.value, "plans")}
          />
        )}
      </Head>
      <Form save={mayWrite.value ? save : undefined}>
        <label>
          {t("event")}
          <Suggest wanted={{ of: "event" }} label={t("event_name")} required value={event} onValue={setEvent} />
        </label>
        <AreaField code required rows={12} label={t("plan_schema")} value={text} onValue={setText} />
        <Choice
          wide
          label={t("plan_mode")}
          prefix="plan"
          options={["observe", "enforce"]}
          value={mode}
          onValue={setMode}
        />
        {trial.error && <Failed message={trial.error} />}
        <div class="row">
          <Amount label={t("in_last_days")} max={366} required value={days} onValue={setDays} />
          <button type="button" disabled={trial.busy || !event.trim()} onClick={() => void check()}>
            {t("plan_try")}
          </button>
        </div>
      </Form>
      {trial.busy && <Loading />}
      {found && <Verdict found={found} days={Number(days)} />}
    </>
  );
}

/** The form of a plan, which viewers may try and not save. */
function Form({ save, children }: { save: (() => Promise<void>) | undefined; children: ComponentChildren }): JSX.Element {
  if (!save) return <form class="form">{children}</form>;
  return (
    <SaveForm label={t("save")} cancel={address(project.value, "plans")} onSave={save}>
      {children}
    </SaveForm>
  );
}

/** What the plan would have done, in a sentence, and why. */
function Verdict({ found, days }: { found: Schemas["PlanCheckResponse"]; days: number }): JSX.Element {
  const first = found.traits[0];
  const numbers = { share: share(found.share), n: count(found.violating), of: count(found.checked), days };
  return (
    <section class="card" aria-label={t("plan_verdict")}>
      <header>
        <h2>{t("plan_verdict")}</h2>
        {found.checked < found.events && (
          <span class="note">{t("plan_newest", { n: count(found.checked), of: count(found.events) })}</span>
        )}
      </header>
      <p role="status">
        {found.checked === 0
          ? t("plan_no_events", { days })
          : found.violating === 0
            ? t("plan_all_right", numbers)
            : t("plan_dropped", numbers)}
        {first &&
          ` ${t(first.share === 1 ? "plan_all_from" : "plan_most_from", {
            property: first.property,
            value: shown(first.value),
          })}`}
      </p>
      {found.faults.length > 0 && (
        <Table
          caption={t("plan_why")}
          columns={[{ title: t("property") }, { title: t("plan_why") }, { title: t("events"), numeric: true, show: count }]}
          rows={found.faults.map((one) => [one.field, one.message, one.events])}
        />
      )}
      {found.traits.length > 1 && (
        <Table
          caption={t("plan_shared")}
          columns={[
            { title: t("property") },
            { title: t("value"), show: shown },
            { title: t("plan_of_dropped"), numeric: true, show: share },
            { title: t("plan_of_others"), numeric: true, show: share },
          ]}
          rows={found.traits.map((one) => [one.property, shown(one.value), one.share, one.others])}
        />
      )}
    </section>
  );
}
