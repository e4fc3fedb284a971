/** The persons behind a figure, page by page, in a dialog. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { count } from "../state/format";
import { address } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Dialog } from "./dialog";
import { useRun } from "./form";
import { Failed, Loading } from "./notes";
import { download } from "./table";

export interface PersonsPage {
  persons: string[];
  next: string | null;
  /** The events that are counted; later pages are of the same. */
  positions?: Record<string, number>;
}

/** Which page to read: after which person, how long, and of which events. */
export interface Asked {
  after: string;
  limit: number;
  positions: Record<string, number> | undefined;
}

const PAGE = 100;
// The most that the API returns at once.
const EXPORTED = 1_000;

export function Persons({
  title,
  read,
  onClose,
  children,
  trace,
}: {
  title: string;
  /** Ask for a page. What is shown is that of the `title`: another one begins at the first page. */
  read: (asked: Asked) => Promise<PersonsPage>;
  onClose: () => void;
  children?: ComponentChildren;
  /** The funnel in which each person's events are followed: why somebody is counted, or not. */
  trace?: string;
}): JSX.Element {
  const [found, setFound] = useState<string[]>();
  const [next, setNext] = useState<string | null>(null);
  const [error, setError] = useState("");
  const asked = useRef(0);
  const positions = useRef<Asked["positions"]>(undefined);

  const more = async (after: string) => {
    const mine = ++asked.current;
    try {
      const page = await read({ after, limit: PAGE, positions: after ? positions.current : undefined });
      if (mine !== asked.current) return;
      positions.current = page.positions;
      setFound((before) => [...(after ? (before ?? []) : []), ...page.persons]);
      setNext(page.next);
      setError("");
    } catch (failure) {
      if (mine === asked.current) setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  useEffect(() => {
    setFound(undefined);
    void more("");
  }, [title]);

  return (
    <Dialog title={title} onClose={onClose}>
      {children}
      {error && <Failed message={error} />}
      {!found && !error && <Loading />}
      {found?.length === 0 && <p class="note">{t("nobody")}</p>}
      {found && found.length > 0 && (
        <ul class="persons" aria-label={t("persons")}>
          {found.map((person) => (
            <li key={person}>
              <a href={address(project.value, "persons", person)}>{person}</a>
              {trace && (
                <a
                  class="why"
                  aria-label={t("why_of", { person })}
                  data-text={t("why")}
                  href={address(project.value, "persons", person, trace)}
                />
              )}
            </li>
          ))}
        </ul>
      )}
      {found && found.length > 0 && <Export key={title} title={title} read={read} positions={positions.current} />}
      {next !== null && (
        <button type="button" onClick={() => void more(next)}>
          {t("show_more")}
        </button>
      )}
    </Dialog>
  );
}

/** A button that reads all pages, of the events that are shown, and downloads them as CSV. */
function Export({
  title,
  read,
  positions,
}: {
  title: string;
  read: (asked: Asked) => Promise<PersonsPage>;
  positions: Asked["positions"];
}): JSX.Element {
  const [counted, setCounted] = useState(0);
  const [done, setDone] = useState(false);
  const closed = useRef(false);
  useEffect(() => () => void (closed.current = true), []);
  const { busy, error, run } = useRun();
  const all = () =>
    run(async () => {
      setDone(false);
      const persons: string[] = [];
      let of = positions;
      for (let after: string | null = ""; after !== null && !closed.current; ) {
        const page: PersonsPage = await read({ after, limit: EXPORTED, positions: of });
        of ??= page.positions;
        persons.push(...page.persons);
        after = page.next;
        setCounted(persons.length);
      }
      if (closed.current) return;
      download({ caption: title, columns: [{ title: t("person") }], rows: persons.map((one) => [one]) });
      setDone(true);
    });
  return (
    <div class="actions">
      <button type="button" disabled={busy} onClick={() => void all()}>
        {t("export_persons")}
      </button>
      <span role="status" class="note">
        {busy && t("export_progress", { n: count(counted) })}
        {done && t("export_done", { n: count(counted) })}
      </span>
      {error && <Failed message={error} />}
    </div>
  );
}
