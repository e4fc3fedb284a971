import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, remove } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { latest } from "../state/live";
import { count, day, moment } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Delete } from "../parts/delete";
import { Grid } from "../parts/grid";
import { Backfill, Empty, Failed, Loading, StateBadge } from "../parts/notes";
import { Persons } from "../parts/persons";
import { OpenFigure } from "../parts/open-figure";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { Starters } from "../parts/starters";
import { AsTable } from "../parts/table";
import { DefinitionList } from "../parts/definition-list";
import { Builder } from "../explore/builder";
import { textOfPositions } from "../explore/requests";
import { Icon } from "../parts/icons";

export function Cohorts(): JSX.Element {
  const { id, more } = route.value;
  if (id === "+new") return <Builder kind="cohorts" />;
  if (more === "edit") return <Builder kind="cohorts" id={id} />;
  return id ? <CohortPage id={id} /> : <CohortList />;
}

function CohortList(): JSX.Element {
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "cohorts", "+new")}>
      <Icon name="plus" />
      {t("new_cohort")}
    </a>
  );
  return (
    <DefinitionList
      page="cohorts"
      title={t("page_cohorts")}
      note={t("cohorts_note")}
      name={t("cohort")}
      held={definitions.value?.cohorts}
      latest={latest.value.cohorts}
      columns={[
        { title: t("begins_with"), cell: (one) => one.start.event ?? t("any_event") },
        { title: t("returns_with"), cell: (one) => one.return.event ?? t("any_event") },
        { title: t("persons"), class: "number", cell: (_, live) => count((live?.previous ?? live)?.persons) },
      ]}
      empty={
        <Empty
          title={t("no_cohorts")}
          action={
            <div class="actions">
              <Starters kinds={["cohorts"]} />
              {create}
            </div>
          }
        >
          {t("no_cohorts_note")}
        </Empty>
      }
      create={create}
    />
  );
}

function CohortPage({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const live = latest.value.cohorts.get(id);
  const defined = definitions.value?.cohorts.find((one) => one.id === id);
  const [orLater, setOrLater] = useState(false);
  const [cell, setCell] = useState<{ begin: string; column: number }>();
  const { value, error } = useAsked(
    `${project.value}/${id}`,
    () => get("/api/projects/{project}/cohorts/{id}/results", places),
    `${live?.version}/${live?.updated_at}`,
  );
  if (error && !value) return <Failed message={error} />;
  if (!value || !defined) return <Loading />;
  const figures = value.previous ?? value;
  const name = titleOf(defined);
  return (
    <>
      <Head
        title={name}
        back={address(project.value, "cohorts")}
        note={
          <>
            <StateBadge state={live?.state ?? value.state} backfilled={live?.backfilled} />
            {" · "}
            {t("cohort_is", {
              start: defined.start.event ?? t("any_event"),
              back: defined.return.event ?? t("any_event"),
            })}
          </>
        }
      >
        <OpenFigure kind="cohorts" id={id} />
        {mayWrite.value && (
          <>
            <a class="button" href={address(project.value, "cohorts", id, "edit")}>
              {t("edit")}
            </a>
            <Delete
              name={name}
              run={() => remove("/api/projects/{project}/cohorts/{id}", places)}
              then={() => go(project.value, "cohorts")}
            />
          </>
        )}
      </Head>
      <div class="stack">
        {live && <Backfill state={live.state} backfilled={live.backfilled} />}
        <section class="card">
          <header>
            <h2>{t("returned_share")}</h2>
            <div class="tabs">
              <button type="button" aria-pressed={!orLater} onClick={() => setOrLater(false)}>
                {t(`on_${defined.period}`)}
              </button>
              <button type="button" aria-pressed={orLater} onClick={() => setOrLater(true)}>
                {t("or_later")}
              </button>
            </div>
          </header>
          {figures.rows.length ? (
            <Grid
              rows={figures.rows}
              period={defined.period}
              periods={defined.periods}
              orLater={orLater}
              caption={name}
              most={40}
              onCell={(begin, column) => setCell({ begin, column })}
            />
          ) : (
            <p class="note">{t("nobody_yet")}</p>
          )}
          <AsTable
            caption={name}
            columns={[
              { title: t(`began_${defined.period}`), show: day },
              { title: t("persons"), numeric: true, show: count },
              ...Array.from({ length: defined.periods }, (_, at) => ({
                title: String(at),
                numeric: true,
                show: count,
              })),
            ]}
            rows={figures.rows.map((row) => [
              row.begin,
              row.persons,
              ...(orLater ? row.returned_or_later : row.returned),
            ])}
          />
          {figures.updated_at && <p class="note">{t("updated_at", { time: moment(figures.updated_at) })}</p>}
        </section>
      </div>
      {cell && (
        <Persons
          title={t("who_returned", { begin: day(cell.begin), n: cell.column })}
          read={({ after, limit, positions }) =>
            get("/api/projects/{project}/cohorts/{id}/persons", places, {
              begin: cell.begin,
              column: cell.column,
              counted: orLater ? "returned_or_later" : "returned",
              after,
              limit,
              as_of: positions && textOfPositions(positions),
            })
          }
          onClose={() => setCell(undefined)}
        />
      )}
    </>
  );
}
