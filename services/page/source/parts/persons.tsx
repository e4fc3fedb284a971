/** The persons behind a figure, page by page, in a dialog. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { t } from "../words";
import { Icon } from "./icons";
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
}: {
  title: string;
  /** Ask for the page after a person; its identity is what the dialog shows. */
  read: (after: string) => Promise<PersonsPage>;
  onClose: () => void;
  children?: ComponentChildren;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
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
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  useEffect(() => {
    setFound(undefined);
    void more("");
  }, [title]);

  return (
    <dialog ref={dialog} class="drawer" aria-label={title} onClose={onClose}>
      <header>
        <h2>{title}</h2>
        <button type="button" class="quiet" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      {children}
      {error && <Failed message={error} />}
      {!found && !error && <Loading />}
      {found?.length === 0 && <p class="note">{t("nobody")}</p>}
      {found && found.length > 0 && (
        <ul class="persons" aria-label={t("persons")}>
          {found.map((person) => (
            <li key={person}>{person}</li>
          ))}
        </ul>
      )}
      {next !== null && (
        <button type="button" onClick={() => void more(next)}>
          {t("show_more")}
        </button>
      )}
    </dialog>
  );
}
