import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { t } from "../words";

/** A text to take along, with a button that copies it. */
export function Copied({ label, text }: { label: string; text: string }): JSX.Element {
  const [done, setDone] = useState(false);
  return (
    <div class="copied">
      <label>
        {label}
        <input readOnly value={text} onFocus={(event) => event.currentTarget.select()} />
      </label>
      <button
        type="button"
        onClick={() =>
          void navigator.clipboard?.writeText(text).then(
            () => setDone(true),
            () => setDone(false),
          )
        }
      >
        {done ? t("copied") : t("copy")}
      </button>
    </div>
  );
}
