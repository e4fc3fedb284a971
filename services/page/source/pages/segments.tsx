import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, remove } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { latest } from "../state/live";
import { count, day, moment } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Chart } from "../parts/chart";
import { Delete } from "../parts/delete";
import { Icon } from "../parts/icons";
import { Backfill, Empty, Failed, Loading, StateBadge } from "../parts/notes";
import { Persons } from "../parts/persons";
import { OpenFigure } from "../parts/open-figure";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { AsTable } from "../parts/table";
import { DefinitionList } from "../parts/definition-list";
import { Builder } from "../explore/builder";

export function Segments(): JSX.Element {
  const { id, more } = route.value;
  if (id === "+new") return <Builder kind="segments" />;
  if (more === "edit") return <Builder kind="segments" id={id} />;
  return id ? <SegmentPage id={id} /> : <SegmentList />;
}

function SegmentList(): JSX.Element {
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "segments", "+new")}>
      <Icon name="plus" />
      {t("new_segment")}
    </a>
  );
  return (
    <DefinitionList
      page="segments"
      title={t("page_segments")}
      note={t("segments_note")}
      name={t("segment")}
      held={definitions.value?.segments}
      latest={latest.value.segments}
      columns={[
        { title: t("persons_now"), class: "number", cell: (_, live) => count((live?.previous ?? live)?.persons) },
      ]}
      empty={
        <Empty title={t("no_segments")} action={create}>
          {t("no_segments_note")}
        </Empty>
      }
      create={create}
    />
  );
}

function SegmentPage({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const live = latest.value.segments.get(id);
  const defined = definitions.value?.segments.find((one) => one.id === id);
  const { value, error } = useAsked(
    `${project.value}/${id}`,
    () => get("/api/projects/{project}/segments/{id}/results", places),
    `${live?.version}/${live?.updated_at}/${live?.persons}`,
  );
  const [members, showMembers] = useState(false);
  if (error && !value) return <Failed message={error} />;
  if (!value || !defined) return <Loading />;
  const figures = value.previous ?? value;
  const size = (live?.previous ?? live)?.persons ?? figures.persons;
  const days = figures.days;
  return (
    <>
      <Head
        title={titleOf(defined)}
        back={address(project.value, "segments")}
        note={
          <>
            <StateBadge state={live?.state ?? value.state} backfilled={live?.backfilled} />
            {defined.description && ` · ${defined.description}`}
          </>
        }
      >
        <button type="button" onClick={() => showMembers(true)}>
          {t("show_members")}
        </button>
        <OpenFigure kind="segments" id={id} />
        {mayWrite.value && (
          <>
            <a class="button" href={address(project.value, "segments", id, "edit")}>
              {t("edit")}
            </a>
            <Delete
              name={titleOf(defined)}
              run={() => remove("/api/projects/{project}/segments/{id}", places)}
              then={() => go(project.value, "segments")}
            />
          </>
        )}
      </Head>
      <div class="stack">
        {live && <Backfill state={live.state} backfilled={live.backfilled} />}
        <section class="card">
          <header>
            <h2>{t("persons_now")}</h2>
            {figures.clock && <span class="note">{t("as_of_clock", { time: moment(figures.clock) })}</span>}
          </header>
          <p class="big">{count(size)}</p>
          {days.length > 1 && (
            <Chart
              label={t("size_over_time")}
              times={days.map((one) => Date.parse(`${one.day}T12:00:00Z`) / 1_000)}
              lines={[{ title: t("persons"), values: days.map((one) => one.persons) }]}
            />
          )}
          <AsTable
            times={days.map((one) => Date.parse(`${one.day}T00:00:00Z`) / 1_000)}
            caption={`${titleOf(defined)} ${t("size_over_time")}`}
            columns={[
              { title: t("day"), show: day },
              { title: t("persons"), numeric: true, show: count },
              { title: t("entered"), numeric: true, show: count },
              { title: t("left"), numeric: true, show: count },
            ]}
            rows={days.map((one) => [one.day, one.persons, one.entered, one.left])}
          />
        </section>
        <section class="card">
          <header>
            <h2>{t("rule")}</h2>
          </header>
          <pre class="snippet" tabIndex={0}>{JSON.stringify(defined.rule, null, 2)}</pre>
        </section>
      </div>
      {members && (
        <Persons
          title={t("members_of", { name: titleOf(defined) })}
          read={({ after, limit }) =>
            get("/api/projects/{project}/segments/{id}/members", places, { after, limit })
          }
          onClose={() => showMembers(false)}
        />
      )}
    </>
  );
}
