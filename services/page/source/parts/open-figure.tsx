/**
 * A button that opens the figures of a definition: which events are in them, exactly, and whether
 * ClickHouse counts the same.
 */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { count, duration, moment } from "../state/format";
import { address } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Dialog } from "./dialog";
import { type Exact, Facts } from "./facts";
import { Icon } from "./icons";
import { Failed, Loading } from "./notes";
import { useAsked } from "./resource";
import { Table } from "./table";

export type VerifiedKind = "funnels" | "cohorts" | "segments" | "metrics";
type Verification = Schemas["VerificationResponse"];
// Differences may be on many pages: enough of them are shown to say what is wrong.
const MAX_PAGES = 50;

export function OpenFigure({ kind, id }: { kind: VerifiedKind; id: string }): JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        <Icon name="exact" />
        {t("open_figure")}
      </button>
      {open && <Opened kind={kind} id={id} onClose={() => setOpen(false)} />}
    </>
  );
}

interface Results extends Exact {
  state: Schemas["StatusResponse"]["state"];
  updated_at: string | null;
  late_dropped: number;
  clock?: string | null;
  previous?: Results | null;
}

function Opened({ kind, id, onClose }: { kind: VerifiedKind; id: string; onClose: () => void }): JSX.Element {
  const places = { project: project.value, id };
  const path = `/api/projects/{project}/${kind}/{id}/results` as "/api/projects/{project}/segments/{id}/results";
  const { value, error } = useAsked(`${project.value}/${kind}/${id}/exact`, () => get(path, places));
  const results = value && ((value.previous ?? value) as Results);
  return (
    <Dialog title={t("exact_figure")} onClose={onClose}>
      {error && <Failed message={error} />}
      {!results && !error && <Loading />}
      {results && (
        <div class="stack">
          <Facts
            exact={results}
            rows={[
              [t("definition"), nameOf(kind, id)],
              [t("window"), windowOf(kind, id)],
              [t("state"), t(`state_${results.state}`)],
              [t("changed"), results.updated_at ? moment(results.updated_at) : t("nobody_yet")],
              ...(results.clock ? [[t("clock"), moment(results.clock)] as [string, string]] : []),
              [t("late_dropped"), count(results.late_dropped)],
            ]}
          />
          <p class="note">{t("exact_note")}</p>
          <Verify kind={kind} id={id} />
        </div>
      )}
    </Dialog>
  );
}

function nameOf(kind: VerifiedKind, id: string): string {
  const found = definitions.value?.[kind] as { id: string; name: string }[] | undefined;
  return titleOf(found?.find((one) => one.id === id) ?? { id });
}

/** The times that a definition counts by, in words. */
function windowOf(kind: VerifiedKind, id: string): string {
  const held = definitions.value;
  const of = <T extends { id: string }>(list: T[] | undefined) => list?.find((one) => one.id === id);
  const since = (one: { since: string | null } | undefined) =>
    one?.since ? t("since_time", { time: moment(one.since) }) : t("since_ever");
  switch (kind) {
    case "funnels": {
      const one = of(held?.funnels);
      return `${t("within_window", { time: duration(1_000 * (one?.window_s ?? 0)) })} · ${since(one)}`;
    }
    case "cohorts": {
      const one = of(held?.cohorts);
      return `${count(one?.periods)} × ${t(`interval_${one?.period ?? "day"}`)} · ${one?.timezone ?? ""} · ${since(one)}`;
    }
    case "metrics": {
      const one = of(held?.metrics);
      return `${t(`bucket_${one?.interval ?? one?.bucket_s ?? 60}` as "bucket_60")} · ${since(one)}`;
    }
    case "segments":
      return t("now");
  }
}

function Verify({ kind, id }: { kind: VerifiedKind; id: string }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [pages, setPages] = useState<Verification[]>([]);
  const [error, setError] = useState("");
  const verify = async () => {
    setBusy(true);
    setError("");
    setPages([]);
    const path = `/api/projects/{project}/${kind}/{id}/verify` as "/api/projects/{project}/funnels/{id}/verify";
    try {
      let after: string | undefined;
      for (let page = 0; page < MAX_PAGES; page++) {
        const found = await get(path, { project: project.peek(), id }, { after });
        setPages((before) => [...before, found]);
        if (found.next === null) break;
        after = found.next;
      }
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    } finally {
      setBusy(false);
    }
  };
  return (
    <section class="verify" aria-label={t("verify")}>
      <button type="button" class="primary" disabled={busy} onClick={() => void verify()}>
        {t("verify")}
      </button>
      <div role="status">
        {busy && <p class="note">{t("verifying")}</p>}
        {error && <Failed message={error} />}
        {pages[0] && <Verdict pages={pages} />}
      </div>
    </section>
  );
}

function Verdict({ pages }: { pages: Verification[] }): JSX.Element | null {
  const [first] = pages;
  if (!first) return null;
  const persons = new Map(pages.flatMap((page) => page.persons).map((one) => [one.person, one]));
  const figures = pages.flatMap((page) => page.figures);
  const cause = pages.map((page) => page.cause).find((one) => one !== null);
  if (first.equal) {
    return (
      <>
        <p class="verdict equal">{t("verified_equal")}</p>
        {first.not_compared.length > 0 && (
          <p class="note">{t("not_compared", { names: first.not_compared.join(", ") })}</p>
        )}
      </>
    );
  }
  return (
    <>
      <p class="verdict differs">{t("verified_differs", { n: count(first.differing) })}</p>
      {cause && <p class="note">{t(`cause_${cause}`)}</p>}
      <Table
        caption={t("differing_figures")}
        columns={[
          { title: t("figure") },
          { title: t("on_stream"), numeric: true },
          { title: "ClickHouse", numeric: true },
        ]}
        rows={figures.map((one) => [one.figure, text(one.stream), text(one.store)])}
      />
      {persons.size > 0 && (
        <>
          <h3 class="sub">{t("differing_persons")}</h3>
          <ul class="persons" aria-label={t("differing_persons")}>
            {[...persons.values()].map((one) => (
              <li key={one.person}>
                <a href={address(project.value, "persons", one.person)}>{one.person}</a>{" "}
                <span class="note">{t(`problem_${one.problem}`)}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}

function text(value: string | number | boolean | null): string {
  return value === null ? "–" : String(value);
}
