import type { JSX } from "preact";
import { get } from "../state/api";
import { type Lists, definitions, titleOf, unreadable } from "../state/definitions";
import { eventCount, events, latest, rate } from "../state/live";
import { count, decimal, share } from "../state/format";
import { address } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Bars } from "../parts/bars";
import { EventRows } from "../parts/events";
import { Grid } from "../parts/grid";
import { Backfill, Empty, Failed, Loading, StateBadge } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { goalOf } from "../parts/goal";
import { MetricChart, nowOf } from "../parts/metric-chart";
import { Head } from "../parts/shell";
import { Spark } from "../parts/spark";
import { Starters } from "../parts/starters";
import { FirstEvent } from "./first-event";

const MOST = 4;

export function Overview(): JSX.Element {
  const held = definitions.value;
  if (!held) return unreadable.value ? <Failed message={unreadable.value} /> : <Loading />;
  const empty = Object.values(held).every((list) => list.length === 0);
  if (empty) return <FirstEvent />;
  return (
    <>
      <Head title={t("page_overview")} note={project.value} />
      <div class="tiles">
        <Numbers held={held} />
        {held.funnels.slice(0, 1).map((one) => (
          <FunnelTile key={one.id} funnel={one} />
        ))}
        <section class="card">
          <header>
            <h2>
              <a href={address(project.value, "feed")}>{t("page_feed")}</a>
            </h2>
            <span class="note">{t("per_second", { rate: decimal(rate.value, 1) })}</span>
          </header>
          {events.value.length ? (
            <EventRows rows={events.value.slice(0, 8)} compact />
          ) : (
            <p class="note">{t("feed_waits")}</p>
          )}
        </section>
        {held.funnels.slice(1, MOST).map((one) => (
          <FunnelTile key={one.id} funnel={one} />
        ))}
        {held.metrics.slice(0, MOST).map((one) => (
          <section class="card" key={one.id}>
            <header>
              <h2>
                <a href={address(project.value, "metrics", one.id)}>{titleOf(one)}</a>
              </h2>
              <span class="note">{nowOf(one, latest.value.metrics.get(one.id))}</span>
            </header>
            <MetricChart metric={one} height={170} />
          </section>
        ))}
        {held.cohorts.slice(0, 2).map((one) => (
          <CohortTile key={one.id} cohort={one} />
        ))}
        {held.predictions.slice(0, 2).map((one) => (
          <PredictionTile key={one.id} prediction={one} />
        ))}
        {mayWrite.value && held.metrics.length === 0 && held.cohorts.length === 0 && (
          <section class="card">
            <Empty title={t("starters_title")} action={<Starters kinds={["metrics", "cohorts", "segments"]} />}>
              {t("starters_note")}
            </Empty>
          </section>
        )}
      </div>
    </>
  );
}

function Numbers({ held }: { held: Lists }): JSX.Element {
  const active = held.metrics.find((one) => one.measure === "persons");
  const windows = active && latest.value.metrics.get(active.id)?.active;
  const best = held.funnels[0];
  const steps = best && latest.value.funnels.get(best.id)?.totals.steps;
  return (
    <dl class="numbers">
      <Figure title={t("events_per_s")} value={decimal(rate.value, 1)} />
      {windows && <Figure title={t("active_now")} value={count(windows.at(0)?.persons)} />}
      {windows && <Figure title={t("active_in", { n: 30 })} value={count(windows.at(-1)?.persons)} />}
      {best && steps && <Figure title={titleOf(best)} value={share(steps.at(-1)?.conversion)} />}
      {held.segments.slice(0, 3).map((one) => (
        <SegmentFigure key={one.id} id={one.id} title={titleOf(one)} />
      ))}
      {!windows && !steps && <Figure title={t("events_seen")} value={count(eventCount.value)} />}
    </dl>
  );
}

function Figure({
  title,
  value,
  children,
  href,
}: {
  title: string;
  value: string;
  children?: JSX.Element | null;
  href?: string;
}): JSX.Element {
  return (
    <div class="figure">
      <dt title={title}>{href ? <a href={href}>{title}</a> : title}</dt>
      <dd>
        <span class="big">{value}</span>
        {children}
      </dd>
    </div>
  );
}

function SegmentFigure({ id, title }: { id: string; title: string }): JSX.Element {
  const live = latest.value.segments.get(id);
  const { value } = useAsked(
    `${project.value}/${id}/size`,
    () => get("/api/projects/{project}/segments/{id}/results", { project: project.value, id }),
    `${live?.version}/${live?.updated_at}`,
  );
  const days = (value?.previous ?? value)?.days ?? [];
  return (
    <Figure
      title={title}
      value={count((live?.previous ?? live)?.persons)}
      href={address(project.value, "segments", id)}
    >
      <Spark values={days.slice(-60).map((one) => one.persons)} />
    </Figure>
  );
}

function FunnelTile({ funnel }: { funnel: Lists["funnels"][number] }): JSX.Element {
  const live = latest.value.funnels.get(funnel.id);
  const steps = (live?.previous ?? live)?.totals.steps;
  return (
    <section class="card" aria-label={titleOf(funnel)}>
      <header>
        <h2>
          <a href={address(project.value, "funnels", funnel.id)}>{titleOf(funnel)}</a>
        </h2>
        {live && <StateBadge state={live.state} backfilled={live.backfilled} />}
      </header>
      {live && <Backfill state={live.state} backfilled={live.backfilled} />}
      {steps ? <Bars steps={steps} compact /> : <Loading />}
    </section>
  );
}

function CohortTile({ cohort }: { cohort: Lists["cohorts"][number] }): JSX.Element {
  const live = latest.value.cohorts.get(cohort.id);
  const { value } = useAsked(
    `${project.value}/${cohort.id}/grid`,
    () =>
      get("/api/projects/{project}/cohorts/{id}/results", { project: project.value, id: cohort.id }),
    `${live?.version}/${live?.updated_at}`,
  );
  const rows = (value?.previous ?? value)?.rows;
  return (
    <section class="card">
      <header>
        <h2>
          <a href={address(project.value, "cohorts", cohort.id)}>{titleOf(cohort)}</a>
        </h2>
        {live && <StateBadge state={live.state} backfilled={live.backfilled} />}
      </header>
      {!rows && <Loading />}
      {rows?.length === 0 && <p class="note">{t("nobody_yet")}</p>}
      {rows && rows.length > 0 && (
        <Grid rows={rows} period={cohort.period} periods={cohort.periods} caption={titleOf(cohort)} most={8} />
      )}
    </section>
  );
}

function PredictionTile({ prediction }: { prediction: Lists["predictions"][number] }): JSX.Element {
  const live = latest.value.predictions.get(prediction.id);
  const shown = live?.previous ?? live;
  const champion = shown?.models[0];
  return (
    <section class="card">
      <header>
        <h2>
          <a href={address(project.value, "predictions", prediction.id)}>{titleOf(prediction)}</a>
        </h2>
        {live && <StateBadge state={live.state} backfilled={live.backfilled} />}
      </header>
      <p class="note">{goalOf(prediction)}</p>
      {!shown && <Loading />}
      {shown && (
        <dl class="facts tile-facts">
          <dt>{t("questions")}</dt>
          <dd>{count(shown.asked)}</dd>
          <dt>{t("learned")}</dt>
          <dd>{count(champion?.learned)}</dd>
          {champion?.window?.log_loss !== undefined && (
            <>
              <dt>{t("log_loss")}</dt>
              <dd>
                {t("against_base", {
                  own: decimal(champion.window.log_loss, 4),
                  base: decimal(champion.window.base_log_loss, 4),
                })}
              </dd>
            </>
          )}
          <dt>{t("verdict")}</dt>
          <dd>{shown.withheld ? t("withheld") : t("better_than_base")}</dd>
        </dl>
      )}
    </section>
  );
}
