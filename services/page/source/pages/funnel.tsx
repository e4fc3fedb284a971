import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, remove } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { latest } from "../state/live";
import { count, day, duration, moment, share } from "../state/format";
import { address, go } from "../state/router";
import { mayWrite, project } from "../state/session";
import { endOf } from "../state/zone";
import { t } from "../words";
import { Bars } from "../parts/bars";
import { Chart } from "../parts/chart";
import { Delete } from "../parts/delete";
import { Backfill, Failed, Incomplete, Loading, StateBadge } from "../parts/notes";
import { OpenFigure } from "../parts/open-figure";
import { Persons } from "../parts/persons";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";
import { AsTable } from "../parts/table";
import { FunnelValues } from "../parts/funnel-values";
import { type Bar, FunnelPersons } from "../explore/funnel-persons";
import { textOfPositions } from "../explore/requests";
import { FunnelCompare } from "./funnel-compare";

type Results = Schemas["FunnelResultsResponse"];
type Funnel = Schemas["FunnelResponse"];

export function FunnelPage({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const live = latest.value.funnels.get(id);
  const defined = definitions.value?.funnels.find((one) => one.id === id);
  const { value, error } = useAsked(
    `${project.value}/${id}`,
    () => get("/api/projects/{project}/funnels/{id}/results", places),
    `${live?.version}/${live?.updated_at}/${live?.state}`,
  );
  const times = useMedians(id, live?.totals.steps.length ?? 0, `${live?.version}/${live?.updated_at}`);
  const [step, setStep] = useState(0);
  const [bar, setBar] = useState<Bar>();
  const [outcome, setOutcome] = useState<"reached" | "dropped">("reached");

  const totals = (live?.previous ?? live)?.totals ?? (value?.previous ?? value)?.totals;
  if (error && !totals) return <Failed message={error} />;
  if (!totals || !defined) return <Loading />;
  const detailed = value?.previous ?? value;
  const state = live?.state ?? value?.state ?? "live";
  const named = totals.steps[step - 1]?.event ?? "";
  return (
    <>
      <Head
        title={titleOf(defined)}
        back={address(project.value, "funnels")}
        note={
          <>
            <StateBadge state={state} backfilled={live?.backfilled} />
            {" · "}
            {t("within_window", { time: duration(defined.window_s * 1_000) })}
            {" · "}
            {t(`order_${defined.order}`)}
          </>
        }
      >
        <OpenFigure kind="funnels" id={id} />
        {mayWrite.value && (
          <>
            <a class="button" href={address(project.value, "funnels", id, "edit")}>
              {t("edit")}
            </a>
            <Delete
              name={titleOf(defined)}
              run={() => remove("/api/projects/{project}/funnels/{id}", places)}
              then={() => go(project.value, "funnels")}
            />
          </>
        )}
      </Head>
      <div class="stack">
        {live && live.state === "backfilling" && (
          <section class="card">
            <Backfill state={live.state} backfilled={live.backfilled} />
            {live.previous && <p class="note">{t("previous_shown")}</p>}
          </section>
        )}
        <section class="card" aria-label={t("steps")}>
          <Bars
            steps={totals.steps}
            times={times}
            onPersons={(at) => {
              setOutcome("reached");
              setStep(at);
            }}
          />
          <AsTable
            caption={titleOf(defined)}
            columns={[
              { title: t("step") },
              { title: t("event") },
              { title: t("persons"), numeric: true, show: count },
              { title: t("conversion"), numeric: true, show: share },
            ]}
            rows={totals.steps.map((one) => [one.step, one.event, one.reached, one.conversion])}
          />
          {live?.updated_at && <p class="note">{t("updated_at", { time: moment(live.updated_at) })}</p>}
        </section>
        <TimeToConvert id={id} mark={`${live?.version}/${live?.updated_at}`} />
        <Days results={detailed} defined={defined} />
        <FunnelCompare id={id} />
        {defined.breakdown && totals.breakdown.length > 0 && (
          <section class="card">
            <FunnelValues
              caption={t("by_property", { property: defined.breakdown.property })}
              steps={totals.steps.map((one) => one.event)}
              values={totals.breakdown.map((one) => ({
                ...one,
                reached: one.steps.map((of) => of.reached),
              }))}
              onPersons={setBar}
            />
          </section>
        )}
      </div>
      {bar && (
        <FunnelPersons
          request={{
            funnel: bodyOf(defined),
            timezone: defined.timezone,
            breakdown: defined.breakdown,
            top: MOST_VALUES,
          }}
          bar={bar}
          trace={id}
          onClose={() => setBar(undefined)}
        />
      )}
      {step > 0 && (
        <Persons
          title={`${t(outcome === "reached" ? "who_reached" : "who_dropped", { step: named })}`}
          read={({ after, limit, positions }) =>
            get("/api/projects/{project}/funnels/{id}/persons", places, {
              step,
              outcome,
              after,
              limit,
              as_of: positions && textOfPositions(positions),
            })
          }
          trace={id}
          onClose={() => setStep(0)}
        >
          {step > 1 && (
            <div class="tabs">
              {(["reached", "dropped"] as const).map((one) => (
                <button
                  key={one}
                  type="button"
                  aria-pressed={outcome === one}
                  onClick={() => setOutcome(one)}
                >
                  {t(one)}
                </button>
              ))}
            </div>
          )}
        </Persons>
      )}
    </>
  );
}

// As many as a defined funnel tells apart.
const MOST_VALUES = 100;

/** The funnel itself, without what it is called, when it was made, and whose days it counts by. */
function bodyOf(one: Funnel): Schemas["Funnel"] {
  const { window_s, steps, order, exclusions, once, hold_constant, since } = one;
  return { window_s, steps, order, exclusions, once, hold_constant, since };
}

const MOST_TIMED = 12;
const TIMES_MS = 3_000;

/** The median time to each step over all entry days; nothing for funnels of very many steps. */
function useMedians(id: string, steps: number, mark: string): ({ median_ms: number | null } | undefined)[] {
  const timed = steps > 1 && steps <= MOST_TIMED ? steps - 1 : 0;
  const { value } = useAsked(
    `${project.value}/${id}/medians/${timed}`,
    () =>
      Promise.all(
        Array.from({ length: timed }, (_, at) =>
          get(
            "/api/projects/{project}/funnels/{id}/times",
            { project: project.value, id },
            { step: at + 2, bins: 1 },
          ),
        ),
      ),
    mark,
    TIMES_MS,
  );
  return [undefined, ...(value ?? []).map((one) => one.previous ?? one)];
}

function TimeToConvert({ id, mark }: { id: string; mark: string }): JSX.Element | null {
  const { value } = useAsked(
    `${project.value}/${id}/times`,
    () =>
      get(
        "/api/projects/{project}/funnels/{id}/times",
        { project: project.value, id },
        { bins: 16 },
      ),
    mark,
  );
  const times = value?.previous ?? value;
  if (!times || !times.persons) return null;
  const most = Math.max(...times.bins.map((bin) => bin.persons), 1);
  return (
    <section class="card">
      <header>
        <h2>{t("time_to_convert")}</h2>
        <span class="note">
          {t("median_and_p90", { median: duration(times.median_ms), p90: duration(times.p90_ms) })}
        </span>
      </header>
      <div class="histogram" aria-hidden="true">
        {times.bins.map((bin) => (
          <i
            key={bin.from_ms}
            title={`${duration(bin.from_ms)} – ${duration(bin.to_ms)}: ${count(bin.persons)}`}
            style={{ height: `${(100 * bin.persons) / most}%` }}
          />
        ))}
      </div>
      <div class="histogram-axis note" aria-hidden="true">
        <span>{duration(times.bins[0]?.from_ms)}</span>
        <span>{duration(times.bins.at(-1)?.to_ms)}</span>
      </div>
      <AsTable
        caption={t("time_to_convert")}
        columns={[
          { title: t("from"), show: duration },
          { title: t("to"), show: duration },
          { title: t("persons"), numeric: true, show: count },
        ]}
        rows={times.bins.map((bin) => [bin.from_ms, bin.to_ms, bin.persons])}
      />
    </section>
  );
}

function Days({ results, defined }: { results: Results | undefined; defined: Funnel }): JSX.Element | null {
  const days = results?.days ?? [];
  const until = results?.complete_until ? Date.parse(results.complete_until) : 0;
  const lines = useMemo(
    () => [
      {
        title: t("conversion_percent"),
        values: days.map((one) => 100 * (one.steps.at(-1)?.conversion ?? 0)),
      },
    ],
    [results],
  );
  const times = useMemo(() => days.map((one) => Date.parse(`${one.day}T12:00:00Z`) / 1_000), [results]);
  // Who entered on a day may convert until the window has passed.
  const incomplete = useMemo(
    () => days.map((one) => endOf(one.day, defined.timezone) + 1_000 * defined.window_s > until),
    [results],
  );
  if (days.length < 2) return null;
  return (
    <section class="card">
      <header>
        <h2>{t("conversion_by_day")}</h2>
      </header>
      <Chart
        label={t("conversion_by_day")}
        times={times}
        lines={lines}
        incomplete={incomplete}
        timeZone="UTC"
        height={170}
      />
      <Incomplete any={incomplete.some(Boolean)} />
      <AsTable
        caption={`${titleOf(defined)} ${t("conversion_by_day")}`}
        times={days.map((one) => Date.parse(`${one.day}T00:00:00Z`) / 1_000)}
        columns={[
          { title: t("day"), show: day },
          { title: t("entered"), numeric: true, show: count },
          { title: t("converted"), numeric: true, show: count },
          { title: t("conversion"), numeric: true, show: share },
          { title: t("incomplete") },
        ]}
        rows={days.map((one, at) => [
          one.day,
          one.steps[0]?.reached,
          one.steps.at(-1)?.reached,
          one.steps.at(-1)?.conversion,
          incomplete[at] ? t("incomplete") : "",
        ])}
      />
    </section>
  );
}
