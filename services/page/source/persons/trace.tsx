/** Why a person has not converted: what each event did in a funnel, in words. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { duration, moment } from "../state/format";
import { address } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Facts } from "../parts/facts";
import { Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";

type Trace = Schemas["FunnelTraceResponse"];
type Funnel = Schemas["FunnelResponse"];
const PAGE = 200;

export function TracePage({ person, funnel: id }: { person: string; funnel: string }): JSX.Element {
  const places = { project: project.value, id, person };
  const funnel = definitions.value?.funnels.find((one) => one.id === id);
  const ask = (after?: string) =>
    get("/api/projects/{project}/funnels/{id}/persons/{person}/trace", places, { limit: PAGE, after });
  const { value, error } = useAsked(`${project.value}/${id}/${person}/trace`, () => ask());
  const [later, setLater] = useState<Trace[]>([]);
  const [failed, setFailed] = useState("");
  const [all, setAll] = useState(false);
  const pages = value ? [value, ...later] : [];
  const next = pages.at(-1)?.next ?? null;
  const head = (
    <Head
      title={t("trace_title", { person, funnel: titleOf(funnel ?? { id }) })}
      back={address(project.value, "persons", person)}
    >
      <a class="button" href={address(project.value, "funnels", id)}>
        {t("funnel")}
      </a>
    </Head>
  );
  if (error && !value) return <>{head}<Failed message={error} /></>;
  if (!value || !funnel) return <Loading />;
  const chains = [...new Map(pages.flatMap((page) => page.chains).map((one) => [`${one.chain} ${one.closes_at}`, one])).values()];
  const reached = Math.max(0, ...pages.flatMap((page) => page.reached));
  const events = pages.flatMap((page) => page.events);
  const shown = all ? events : events.filter((one) => one.effects.length > 0);
  const more = async () => {
    try {
      const page = await ask(next ?? undefined);
      setLater([...later, page]);
      setFailed("");
    } catch (failure) {
      setFailed(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <>
      {head}
      <div class="stack">
        <section class="card" aria-label={t("trace_verdict")}>
          <p class="verdict">{verdictOf(funnel, reached)}</p>
          {chains.length > 0 && (
            <ol class="attempts" aria-label={t("attempts")}>
              {chains.map((one, at) => (
                <li key={`${one.chain} ${one.closes_at}`}>
                  <strong>{t("attempt", { n: at + 1 })}</strong>{" "}
                  {one.steps.map((step) => `${step.event} (${moment(step.at)})`).join(" → ")}
                  {": "}
                  {endOf(funnel, one)}
                </li>
              ))}
            </ol>
          )}
          {value.partial && <p class="note">{t("trace_partial")}</p>}
        </section>
        <section class="card">
          <header>
            <h2>{t("trace_events")}</h2>
            <label class="check">
              <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />
              {t("trace_all")}
            </label>
          </header>
          {shown.length === 0 && <p class="note">{t("trace_nothing")}</p>}
          <ol class="timeline trace" aria-label={t("trace_events")}>
            {shown.map((one) => (
              <li key={one.event_id} class={one.effects.some((effect) => GOOD.has(effect.code)) ? "good" : ""}>
                <time dateTime={one.at}>{moment(one.at)}</time>
                <b>{one.event}</b>
                <ul>
                  {one.effects.map((effect, at) => (
                    <li key={at}>{effectOf(funnel, effect, one, chains)}</li>
                  ))}
                  {one.effects.length === 0 && <li class="note">{t("effect_none")}</li>}
                </ul>
              </li>
            ))}
          </ol>
          {failed && <Failed message={failed} />}
          {next !== null && (
            <button type="button" onClick={() => void more()}>
              {t("show_more")}
            </button>
          )}
        </section>
        <section class="card">
          <header>
            <h2>{t("exact_figure")}</h2>
          </header>
          <Facts exact={value} rows={[[t("window"), duration(1_000 * funnel.window_s)]]} />
        </section>
      </div>
    </>
  );
}

const GOOD: ReadonlySet<string> = new Set(["began", "step_reached"]);

/** How far the person has come, in one sentence. */
function verdictOf(funnel: Funnel, reached: number): string {
  const last = funnel.steps.length;
  const step = funnel.steps[reached - 1]?.event ?? "";
  if (reached >= last) return t("verdict_converted", { step, n: last });
  if (!reached) return t("verdict_never", { step: funnel.steps[0]?.event ?? "" });
  return t("verdict_stopped", {
    n: reached,
    of: last,
    step,
    next: funnel.steps[reached]?.event ?? "",
  });
}

function endOf(funnel: Funnel, chain: Trace["chains"][number]): string {
  return t(`end_${chain.end}`, {
    n: chain.steps.at(-1)?.step ?? 0,
    window: duration(1_000 * funnel.window_s),
    time: moment(chain.closes_at),
  });
}

function effectOf(
  funnel: Funnel,
  effect: Trace["events"][number]["effects"][number],
  event: Trace["events"][number],
  chains: Trace["chains"],
): string {
  const closed = chains.find((one) => one.chain === effect.chain)?.closes_at ?? event.at;
  return t(`effect_${effect.code}`, {
    n: effect.step ?? "",
    held: funnel.hold_constant.join(", "),
    after: duration(Date.parse(event.at) - Date.parse(closed)),
    late: duration(event.late_by_ms),
  });
}
