/** The persons behind a figure, page by page, in a dialog. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { address } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Dialog } from "./dialog";
import { Failed, Loading } from "./notes";

export interface PersonsPage {
  persons: string[];
  next: string | null;
}

export function Persons({
  title,
  read,
  onClose,
  children,
  trace,
}: {
  title: string;
  /** Ask for the page after a person; its identity is what the dialog shows. */
  read: (after: string) => Promise<PersonsPage>;
  onClose: () => void;
  children?: ComponentChildren;
  /** The funnel in which each person's events are followed: why somebody is counted, or not. */
  trace?: string;
}): JSX.Element {
  const [found, setFound] = useState<string[]>();
  const [next, setNext] = useState<string | null>(null);
  const [error, setError] = useState("");
  const asked = useRef(0);

  const more = async (after: string) => {
    const mine = ++asked.current;
    try {
      const page = await read(after);
      if (mine !== asked.current) return;
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
      {next !== null && (
        <button type="button" onClick={() => void more(next)}>
          {t("show_more")}
        </button>
      )}
    </Dialog>
  );
}
