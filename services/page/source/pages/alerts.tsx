/** Alerts: what each of them does now, its incidents, and the form that defines one. */
import type { JSX } from "preact";
import { type Schemas, get, put, remove } from "../state/api";
import { titleOf } from "../state/definitions";
import { moment } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import type { Word } from "../words";
import { useRun } from "../parts/form";
import { Delete } from "../parts/delete";
import { Icon } from "../parts/icons";
import { Empty, Failed, Loading } from "../parts/notes";
import { useAsked, useTick } from "../parts/resource";
import { Head } from "../parts/shell";
import { AsTable } from "../parts/table";
import type { Alert } from "../alerts/draft";
import { AlertForm } from "../alerts/form";
import { AlertBadge, alertIs, figureOf } from "../alerts/says";

type Incident = Schemas["IncidentResponse"];
const EVERY_MS = 5_000;

export function Alerts(): JSX.Element {
  const { id, more } = route.value;
  const tick = useTick(EVERY_MS);
  const { value, error } = useAsked(
    `${project.value}/alerts/${id}/${more}`,
    () => get("/api/projects/{project}/alerts", { project: project.value }, { limit: 200 }),
    tick,
  );
  if (error && !value) return <Failed message={error} />;
  if (!value) return <Loading />;
  if (id === "+new") return <AlertForm before={undefined} others={value.alerts} />;
  if (!id) return <AlertList alerts={value.alerts} />;
  const found = value.alerts.find((one) => one.id === id);
  if (!found) return <Failed message={t("not_there")} />;
  return more === "edit" ? <AlertForm before={found} others={value.alerts} /> : <AlertPage alert={found} />;
}

function useStatus(id: string, mark: string) {
  const tick = useTick(EVERY_MS);
  return useAsked(
    `${project.value}/alerts/${id}/status`,
    () => get("/api/projects/{project}/alerts/{id}/status", { project: project.value, id }),
    `${mark}/${tick}`,
  );
}

function AlertList({ alerts }: { alerts: Alert[] }): JSX.Element {
  const tick = useTick(EVERY_MS);
  const { value } = useAsked(
    `${project.value}/incidents`,
    () => get("/api/projects/{project}/incidents", { project: project.value }, { limit: 50 }),
    tick,
  );
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "alerts", "+new")}>
      <Icon name="plus" />
      {t("new_alert")}
    </a>
  );
  if (!alerts.length) {
    return (
      <>
        <Head title={t("page_alerts")} note={t("alerts_note")} />
        <Empty title={t("no_alerts")} action={create}>
          {t("no_alerts_note")}
        </Empty>
      </>
    );
  }
  return (
    <>
      <Head title={t("page_alerts")} note={t("alerts_note")}>
        {create}
      </Head>
      <div class="stack">
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("alert")}</th>
                <th scope="col">{t("state")}</th>
                <th scope="col" class="wide">
                  {t("severity")}
                </th>
                <th scope="col">{t("alert_when")}</th>
              </tr>
            </thead>
            <tbody>
              {alerts.map((one) => (
                <AlertRow key={one.id} alert={one} />
              ))}
            </tbody>
          </table>
        </div>
        <Incidents incidents={value?.incidents} alerts={alerts} />
      </div>
    </>
  );
}

function AlertRow({ alert }: { alert: Alert }): JSX.Element {
  const { value } = useStatus(alert.id, String(alert.version));
  return (
    <tr>
      <th scope="row">
        <a href={address(project.value, "alerts", alert.id)}>{titleOf(alert)}</a>
      </th>
      <td>
        <AlertBadge status={value} />
      </td>
      <td class="wide">{t(`severity_${alert.severity}`)}</td>
      <td class="wrap">{alertIs(alert)}</td>
    </tr>
  );
}

function AlertPage({ alert }: { alert: Alert }): JSX.Element {
  const places = { project: project.value, id: alert.id };
  const tick = useTick(EVERY_MS);
  const { value: status, error } = useStatus(alert.id, String(alert.revision));
  const { value } = useAsked(
    `${project.value}/alerts/${alert.id}/incidents`,
    () => get("/api/projects/{project}/alerts/{id}/incidents", places),
    `${tick}/${status?.incident}`,
  );
  return (
    <>
      <Head
        title={titleOf(alert)}
        back={address(project.value, "alerts")}
        note={
          <>
            <AlertBadge status={status} /> · {t(`severity_${alert.severity}`)} · {alertIs(alert)}
          </>
        }
      >
        {mayWrite.value && <Changes alert={alert} />}
      </Head>
      <div class="stack">
        {error && !status && <Failed message={error} />}
        {status && <Now alert={alert} status={status} />}
        <Incidents incidents={value?.incidents} alerts={[alert]} />
      </div>
    </>
  );
}

function Changes({ alert }: { alert: Alert }): JSX.Element {
  const places = { project: project.value, id: alert.id };
  const { busy, error, run } = useRun();
  const pause = () =>
    run(async () => {
      const { created_at: _, updated_at: __, version: ___, id: ____, ...body } = alert;
      await put("/api/projects/{project}/alerts/{id}", places, { ...body, active: !alert.active });
    });
  return (
    <>
      {error && <Failed message={error} />}
      <button type="button" disabled={busy} onClick={() => void pause()}>
        {t(alert.active ? "pause" : "resume")}
      </button>
      <a class="button" href={address(project.value, "alerts", alert.id, "edit")}>
        {t("edit")}
      </a>
      <Delete
        name={titleOf(alert)}
        run={() => remove("/api/projects/{project}/alerts/{id}", places)}
        then={() => go(project.value, "alerts")}
      />
    </>
  );
}

/** What was measured at the last step. */
function Now({ alert, status }: { alert: Alert; status: Schemas["AlertStatusResponse"] }): JSX.Element {
  const compared = alert.compare !== "none";
  return (
    <section class="card" aria-label={t("now")}>
      <header>
        <h2>{t("now")}</h2>
        {status.at && <span class="note">{t("alert_step_at", { time: moment(status.at) })}</span>}
      </header>
      {!status.at && <p class="note">{t(status.state === "inactive" ? "alert_paused_note" : "alert_waiting_note")}</p>}
      {status.at && <p class="big">{figureOf(alert, status.value)}</p>}
      {compared && status.figure !== null && (
        <p class="note">
          {t("alert_compared", { now: figure(alert, status.figure), before: figure(alert, status.baseline) })}
        </p>
      )}
      {status.data === "no_data" && status.at && <p class="note">{t("alert_no_data_note")}</p>}
      {status.error && <Failed message={status.error} />}
    </section>
  );
}

/** A figure itself, which is no share for being compared as one. */
function figure(alert: Alert, value: number | null): string {
  return figureOf({ ...alert, relative: false }, value);
}

const TONES: Record<string, string> = { open: "failed", closed: "live" };

function Incidents({ incidents, alerts }: { incidents: Incident[] | undefined; alerts: Alert[] }): JSX.Element {
  const of = (id: string) => alerts.find((one) => one.id === id);
  const name = (id: string) => titleOf(of(id) ?? { id });
  const stateOf = (one: Incident) => t(`incident_${one.state}` as Word);
  return (
    <section class="card" aria-label={t("incidents")}>
      <header>
        <h2>{t("incidents")}</h2>
      </header>
      {!incidents && <Loading />}
      {incidents?.length === 0 && <p class="note">{t("no_incidents")}</p>}
      {incidents && incidents.length > 0 && (
        <>
          <ol class="incidents">
            {incidents.map((one) => (
              <li key={one.id}>
                <span class={`badge ${TONES[one.state] ?? "behind"}`}>{stateOf(one)}</span>
                <div>
                  {alerts.length > 1 || !of(one.alert) ? (
                    <a class="link" href={address(project.value, "alerts", one.alert)}>
                      {name(one.alert)}
                    </a>
                  ) : null}
                  <p>{one.text}</p>
                  <p class="note">
                    {one.ended_at
                      ? t("incident_from_to", { from: moment(one.opened_at), to: moment(one.ended_at) })
                      : t("incident_since", { from: moment(one.opened_at) })}
                  </p>
                </div>
              </li>
            ))}
          </ol>
          <AsTable
            caption={t("incidents")}
            columns={[
              { title: t("alert") },
              { title: t("state") },
              { title: t("severity") },
              { title: t("from"), show: moment },
              { title: t("to"), show: (to: string | null) => (to ? moment(to) : "–") },
              { title: t("value"), numeric: true },
              { title: t("incident_text") },
            ]}
            rows={incidents.map((one) => [
              name(one.alert),
              stateOf(one),
              t(`severity_${one.severity}` as Word),
              one.opened_at,
              one.ended_at,
              one.value,
              one.text,
            ])}
          />
        </>
      )}
    </section>
  );
}
