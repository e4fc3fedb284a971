/** A form that saves: it is sent once at a time, and says what was refused. */
import { useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { messageOf } from "../state/api";
import { t } from "../words";
import { Failed } from "./notes";

export interface Run {
  busy: boolean;
  /** Why the last run failed; "" if it did not. */
  error: string;
  run: (work: () => Promise<unknown>) => Promise<void>;
}

/** Run one piece of work at a time, and keep what it says when it fails. */
export function useRun(): Run {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const run = async (work: () => Promise<unknown>) => {
    setBusy(true);
    try {
      await work();
      setError("");
    } catch (failure) {
      setError(messageOf(failure));
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, run };
}

export function SaveForm({
  label,
  onSave,
  class: kind = "form",
  cancel,
  plain = false,
  disabled = false,
  children,
}: {
  /** What the button that saves says. */
  label: string;
  onSave: () => Promise<unknown>;
  class?: string;
  /** Where the link to cancel leads; there is none without it. */
  cancel?: string;
  /** Draw a small button beside the fields: another one is the main button of the page. */
  plain?: boolean;
  disabled?: boolean;
  children: ComponentChildren;
}): JSX.Element {
  const { busy, error, run } = useRun();
  const button = (
    <button type="submit" class={plain ? "" : "primary"} disabled={busy || disabled}>
      {label}
    </button>
  );
  return (
    <form
      class={kind}
      onSubmit={(event) => {
        event.preventDefault();
        void run(onSave);
      }}
    >
      {children}
      {plain && button}
      {error && <Failed message={error} />}
      {!plain && (
        <div class="actions">
          {button}
          {cancel !== undefined && (
            <a class="button quiet" href={cancel}>
              {t("cancel")}
            </a>
          )}
        </div>
      )}
    </form>
  );
}
