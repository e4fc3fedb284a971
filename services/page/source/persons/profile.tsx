/** One person: what is known now, in which segments, with which predictions, and all events. */
import type { JSX } from "preact";
import { type Schemas, get, post } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { now } from "../state/health";
import { events } from "../state/live";
import { count, decimal, moment, share, shown } from "../state/format";
import { address, go } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Empty, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { Table } from "../parts/table";
import { Timeline } from "./timeline";

type Prediction = Schemas["PredictionResponse"];
const TIMELINE = 30;
const AGAIN_MS = 10_000;

export function PersonPage({ person }: { person: string }): JSX.Element {
  const places = { project: project.value };
  // The person's newest event that this page has seen changes what is known, once it is stored; and
  // segments are left as time passes.
  const newest = events.value.find((one) => one.person_id === person)?.event_id;
  const round = Math.floor(now.value / AGAIN_MS);
  const { value, error } = useAsked(
    `${project.value}/person/${person}`,
    () => post("/api/projects/{project}/query/person", places, { person, limit: TIMELINE }),
    `${newest} ${round}`,
    2_000,
  );
  const back = address(project.value, "persons");
  if (error && !value) {
    return (
      <>
        <Head title={person} back={back} />
        <Empty title={t("person_unknown")}>{error}</Empty>
      </>
    );
  }
  if (!value) return <Loading />;
  return (
    <>
      <Head
        title={person}
        back={back}
        note={t("person_seen", {
          n: count(value.total_events),
          first: moment(value.first_seen),
          last: moment(value.last_seen),
        })}
      />
      <div class="tiles">
        <section class="card">
          <header>
            <h2>{t("properties")}</h2>
          </header>
          <Properties of={value.properties} />
        </section>
        <section class="card">
          <header>
            <h2>{t("segments_now")}</h2>
          </header>
          <Segments ids={value.segments} />
        </section>
        <section class="card">
          <header>
            <h2>{t("page_predictions")}</h2>
          </header>
          <Predictions person={person} mark={`${newest} ${round}`} />
        </section>
        <section class="card">
          <header>
            <h2>{t("trace_ask")}</h2>
          </header>
          <Funnels person={person} />
        </section>
        <section class="card wide">
          <header>
            <h2>{t("timeline")}</h2>
          </header>
          <Timeline person={person} first={value} />
        </section>
      </div>
    </>
  );
}

function Properties({ of }: { of: Record<string, unknown> }): JSX.Element {
  const rows = Object.entries(of);
  if (!rows.length) return <p class="note">{t("no_properties")}</p>;
  return (
    <dl class="facts">
      {rows.map(([name, value]) => [<dt key={name}>{name}</dt>, <dd key={`${name} is`}>{shown(value)}</dd>])}
    </dl>
  );
}

function Segments({ ids }: { ids: string[] }): JSX.Element {
  if (!ids.length) return <p class="note">{t("in_no_segment")}</p>;
  return (
    <ul class="chips">
      {ids.map((id) => (
        <li key={id}>
          <a class="chip" href={address(project.value, "segments", id)}>
            {titleOf(definitions.value?.segments.find((one) => one.id === id) ?? { id })}
          </a>
        </li>
      ))}
    </ul>
  );
}

function Predictions({ person, mark }: { person: string; mark: string }): JSX.Element {
  const held = definitions.value?.predictions;
  if (!held) return <Loading />;
  if (!held.length) return <p class="note">{t("no_predictions")}</p>;
  return (
    <div class="stack">
      {held.map((one) => (
        <Scored key={one.id} prediction={one} person={person} mark={mark} />
      ))}
    </div>
  );
}

function Scored({ prediction, person, mark }: { prediction: Prediction; person: string; mark: string }): JSX.Element {
  const { value, error } = useAsked(
    `${project.value}/${prediction.id}/${person}`,
    () =>
      get("/api/projects/{project}/predictions/{id}/persons/{person}", {
        project: project.value,
        id: prediction.id,
        person,
      }),
    mark,
    2_000,
  );
  const found = value?.previous ?? value;
  return (
    <section aria-label={titleOf(prediction)}>
      <p class="score">
        <a href={address(project.value, "predictions", prediction.id)}>{titleOf(prediction)}</a>
        <strong>
          {found && found.score !== null && (prediction.target === "value" ? decimal(found.score) : share(found.score))}
        </strong>
      </p>
      {error && <p class="note">{t("not_asked_yet")}</p>}
      {!found && !error && <Loading />}
      {found?.withheld && (
        <p class="note" title={found.withheld_because ?? undefined}>
          {t("withheld")} {t("withheld_note")}
        </p>
      )}
      {found && !found.withheld && found.score === null && <p class="note">{t("not_asked_yet")}</p>}
      {found?.at && <p class="note">{`${t("asked_at")} ${moment(found.at)} · ${found.model ?? ""}`}</p>}
      {found && found.contributions.length > 0 && (
        <details class="as-table">
          <summary>{t("contributions")}</summary>
          <Table
            caption={t("contributions")}
            columns={[
              { title: t("feature") },
              { title: t("value"), numeric: true, show: decimal },
              { title: t("contribution"), numeric: true, show: decimal },
            ]}
            rows={found.contributions.map((one) => [one.feature, one.value, one.contribution])}
          />
        </details>
      )}
    </section>
  );
}

function Funnels({ person }: { person: string }): JSX.Element {
  const held = definitions.value?.funnels;
  if (!held) return <Loading />;
  if (!held.length) return <p class="note">{t("no_funnels_note")}</p>;
  return (
    <>
      <p class="note">{t("trace_note")}</p>
      <ul class="links">
        {held.map((one) => (
          <li key={one.id}>
            <button type="button" class="link" onClick={() => go(project.value, "persons", person, one.id)}>
              {titleOf(one)}
            </button>
          </li>
        ))}
      </ul>
    </>
  );
}

