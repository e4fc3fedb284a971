import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { t } from "../words";

/** A button of a row that asks once more before it does what cannot be undone. */
export function Confirm({
  label,
  of,
  run,
}: {
  label: string;
  of: string;
  run: () => Promise<unknown>;
}): JSX.Element {
  const [asking, setAsking] = useState(false);
  if (!asking) {
    return (
      <button type="button" class="link" onClick={() => setAsking(true)}>
        {label}
        <span class="sr"> {of}</span>
      </button>
    );
  }
  return (
    <span class="confirm">
      <button type="button" class="danger" autoFocus onClick={() => void run().then(() => setAsking(false))}>
        {t("really", { what: label })}
        <span class="sr"> {of}</span>
      </button>
      <button type="button" class="quiet" onClick={() => setAsking(false)}>
        {t("cancel")}
      </button>
    </span>
  );
}
