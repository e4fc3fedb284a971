import type { JSX } from "preact";
import { type Schemas, get, remove } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { latest } from "../state/live";
import { count, decimal, moment, share } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Backfill, Empty, Failed, Loading, StateBadge } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { goalOf } from "../parts/goal";
import { Head } from "../parts/shell";
import { Table } from "../parts/table";
import { DefinitionList } from "../parts/definition-list";
import { Delete } from "../parts/delete";
import { Icon } from "../parts/icons";
import { PredictionBuilder } from "./prediction-builder";

type Model = Schemas["ModelResponse"];

export function Predictions(): JSX.Element {
  const { id, more } = route.value;
  if (id === "+new") return <PredictionBuilder />;
  if (more === "edit") return <PredictionBuilder id={id} />;
  return id ? <PredictionPage id={id} /> : <PredictionList />;
}

function PredictionList(): JSX.Element {
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "predictions", "+new")}>
      <Icon name="plus" />
      {t("new_prediction")}
    </a>
  );
  return (
    <DefinitionList
      page="predictions"
      title={t("page_predictions")}
      note={t("predictions_note")}
      name={t("prediction")}
      held={definitions.value?.predictions}
      latest={latest.value.predictions}
      columns={[
        { title: t("questions"), class: "number", cell: (_, live) => count(live?.asked) },
        { title: t("learned"), class: "number", cell: (_, live) => count(live?.models[0]?.learned) },
        { title: t("quality"), cell: (_, live) => live && (live.withheld ? t("withheld") : t("better_than_base")) },
      ]}
      empty={
        <Empty title={t("no_predictions")} action={create}>
          {t("no_predictions_note")}
        </Empty>
      }
      create={create}
    />
  );
}

/** Whether a model's answers are better than what anybody could say, and by how much. */
export function Quality({ models }: { models: Model[] }): JSX.Element {
  const champion = models[0];
  const values = champion?.window?.rmse !== undefined;
  return (
    <Table
      caption={t("quality")}
      columns={[
        { title: t("model") },
        { title: t("learned"), numeric: true, show: count },
        { title: values ? "RMSE" : t("log_loss"), numeric: true, show: precise },
        { title: t("of_base"), numeric: true, show: precise },
        { title: "ROC AUC", numeric: true, show: precise },
        { title: t("calibration_error"), numeric: true, show: share },
        { title: t("verdict") },
      ]}
      rows={models.map((one) => [
        one.champion ? `${one.name} · ${t("champion")}` : one.name,
        one.learned,
        values ? one.window?.rmse : one.window?.log_loss,
        values ? one.window?.base_rmse : one.window?.base_log_loss,
        one.window?.roc_auc,
        one.window?.calibration_error,
        one.better_than_base ? t("better_than_base") : t("not_better"),
      ])}
    />
  );
}

function precise(value: number | null | undefined): string {
  return decimal(value, 4);
}

function PredictionPage({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const live = latest.value.predictions.get(id);
  const defined = definitions.value?.predictions.find((one) => one.id === id);
  const { value: persons, error } = useAsked(
    `${project.value}/${id}/persons`,
    () => get("/api/projects/{project}/predictions/{id}/persons", places, { limit: 50 }),
    `${live?.version}/${live?.updated_at}/${live?.withheld}`,
  );
  if (error && !persons) return <Failed message={error} />;
  if (!defined || !live) return <Loading />;
  const shown = live.previous ?? live;
  const page = persons?.previous ?? persons;
  return (
    <>
      <Head
        title={titleOf(defined)}
        back={address(project.value, "predictions")}
        note={
          <>
            <StateBadge state={live.state} backfilled={live.backfilled} />
            {" · "}
            {goalOf(defined)}
          </>
        }
      >
        {mayWrite.value && (
          <>
            <a class="button" href={address(project.value, "predictions", id, "edit")}>
              {t("edit")}
            </a>
            <Delete
              name={titleOf(defined)}
              run={() => remove("/api/projects/{project}/predictions/{id}", places)}
              then={() => go(project.value, "predictions")}
            />
          </>
        )}
      </Head>
      <div class="stack">
        <Backfill state={live.state} backfilled={live.backfilled} />
        {shown.withheld && (
          <p class="withheld">
            <strong>{t("withheld")}</strong> {t("withheld_note")}
            {shown.withheld_because && <span class="note"> {shown.withheld_because}</span>}
          </p>
        )}
        <section class="card">
          <header>
            <h2>{t("quality")}</h2>
            <span class="note">
              {t("questions_asked", { n: count(shown.asked) })}
            </span>
          </header>
          <Quality models={shown.models} />
        </section>
        {page && !page.withheld && (
          <section class="card">
            <header>
              <h2>{t("highest_persons")}</h2>
            </header>
            {page.persons.length ? (
              <Table
                caption={t("highest_persons")}
                columns={[
                  {
                    title: t("person"),
                    href: (person: string) => address(project.value, "persons", person),
                  },
                  {
                    title: defined.target === "value" ? t("value") : t("probability"),
                    numeric: true,
                    show: (one: number) => (defined.target === "value" ? decimal(one) : share(one)),
                  },
                  { title: t("asked_at"), show: moment },
                ]}
                rows={page.persons.map((one) => [one.person, one.score, one.at])}
              />
            ) : (
              <p class="note">{t("nobody_yet")}</p>
            )}
          </section>
        )}
      </div>
    </>
  );
}
