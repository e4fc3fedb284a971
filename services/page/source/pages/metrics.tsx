import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, remove } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { latest } from "../state/live";
import { count, decimal, moment } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Chart } from "../parts/chart";
import { dayZone, linesOf, measured, merged, nowOf, unfinished } from "../parts/metric-chart";
import { Delete } from "../parts/delete";
import { Backfill, Empty, Failed, Incomplete, Loading, StateBadge } from "../parts/notes";
import { OpenFigure } from "../parts/open-figure";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { Starters } from "../parts/starters";
import { AsTable, Table } from "../parts/table";
import { DefinitionList } from "../parts/definition-list";
import { Icon } from "../parts/icons";
import { MetricBuilder } from "./metric-builder";


export function Metrics(): JSX.Element {
  const { id, more } = route.value;
  if (id === "+new") return <MetricBuilder />;
  if (more === "edit") return <MetricBuilder id={id} />;
  return id ? <MetricPage id={id} /> : <MetricList />;
}

function MetricList(): JSX.Element {
  const create = mayWrite.value && (
    <a class="button primary" href={address(project.value, "metrics", "+new")}>
      <Icon name="plus" />
      {t("new_metric")}
    </a>
  );
  return (
    <DefinitionList
      page="metrics"
      title={t("page_metrics")}
      note={t("metrics_note")}
      name={t("metric")}
      held={definitions.value?.metrics}
      latest={latest.value.metrics}
      columns={[
        { title: t("measure"), cell: (one) => measured(one) },
        { title: t("bucket"), cell: (one) => t(`bucket_${one.interval ?? one.bucket_s}` as "bucket_60") },
        { title: t("now"), class: "number", cell: (one, live) => nowOf(one, live) },
      ]}
      empty={
        <Empty
          title={t("no_metrics")}
          action={
            <div class="actions">
              <Starters kinds={["metrics"]} />
              {create}
            </div>
          }
        >
          {t("no_metrics_note")}
        </Empty>
      }
      create={create}
    />
  );
}

function MetricPage({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const live = latest.value.metrics.get(id);
  const defined = definitions.value?.metrics.find((one) => one.id === id);
  const [full, setFull] = useState(false);
  const { value, error } = useAsked(
    `${project.value}/${id}/${full}`,
    () => get("/api/projects/{project}/metrics/{id}/results", places, { limit: full ? 1_440 : 240 }),
    `${live?.version}/${live?.state}/${live?.buckets.at(-1)?.begin}`,
  );
  const kept = (value?.previous ?? value)?.buckets;
  const buckets = useMemo(() => merged(kept ?? [], live), [kept, live]);
  const lines = useMemo(() => (defined ? linesOf(defined, buckets) : []), [defined, buckets]);
  const times = useMemo(() => buckets.map((one) => Date.parse(one.begin) / 1_000), [buckets]);
  const incomplete = useMemo(() => unfinished(buckets, live ?? value), [buckets]);
  if (error && !value) return <Failed message={error} />;
  if (!value || !defined) return <Loading />;
  const top = buckets.at(-1)?.top;
  const shown = live?.previous ?? live;
  return (
    <>
      <Head
        title={titleOf(defined)}
        back={address(project.value, "metrics")}
        note={
          <>
            <StateBadge state={live?.state ?? value.state} backfilled={live?.backfilled} />
            {" · "}
            {measured(defined)} · {t(`bucket_${defined.interval ?? defined.bucket_s}` as "bucket_60")}
          </>
        }
      >
        <OpenFigure kind="metrics" id={id} />
        {mayWrite.value && (
          <>
            <a class="button" href={address(project.value, "metrics", id, "edit")}>
              {t("edit")}
            </a>
            <Delete
              name={titleOf(defined)}
              run={() => remove("/api/projects/{project}/metrics/{id}", places)}
              then={() => go(project.value, "metrics")}
            />
          </>
        )}
      </Head>
      <div class="stack">
        {live && <Backfill state={live.state} backfilled={live.backfilled} />}
        {shown?.active && (
          <dl class="numbers">
            {shown.active.map((one) => (
              <div class="figure" key={one.seconds}>
                <dt>{t("active_in", { n: (one.seconds ?? 0) / 60 })}</dt>
                <dd>
                  <span class="big">{count(one.persons)}</span>
                </dd>
              </div>
            ))}
          </dl>
        )}
        <section class="card">
          <header>
            <h2>{t("over_time")}</h2>
            <div class="tabs">
              <button type="button" aria-pressed={!full} onClick={() => setFull(false)}>
                {t("newest")}
              </button>
              <button type="button" aria-pressed={full} onClick={() => setFull(true)}>
                {t("all_kept")}
              </button>
            </div>
          </header>
          {buckets.length ? (
            <>
              <Chart
                label={titleOf(defined)}
                times={times}
                lines={lines}
                height={260}
                bars={buckets.length < 40}
                incomplete={incomplete}
                timeZone={dayZone(defined)}
              />
              <Incomplete any={incomplete.some(Boolean)} />
            </>
          ) : (
            <p class="note">{t("nothing_measured")}</p>
          )}
          <AsTable
            caption={titleOf(defined)}
            times={times}
            columns={[
              { title: t("from"), show: (begin: string) => moment(begin, dayZone(defined)) },
              ...lines.map((line) => ({ title: line.title, numeric: true, show: decimal })),
              { title: t("incomplete") },
            ]}
            rows={buckets.map((one, at) => [
              one.begin,
              ...lines.map((line) => line.values[at]),
              incomplete[at] ? t("incomplete") : "",
            ])}
          />
          {value.approximate && <p class="note">{t("approximate", { by: value.approximate.sketch })}</p>}
        </section>
        {top && (
          <section class="card">
            <header>
              <h2>{t("top_values")}</h2>
            </header>
            <Table
              caption={t("top_values")}
              columns={[{ title: t("value") }, { title: t("events"), numeric: true, show: count }]}
              rows={top.map((one) => [String(one.value), one.events])}
            />
          </section>
        )}
      </div>
    </>
  );
}
