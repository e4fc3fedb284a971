import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { t } from "../words";

/** A button that asks once more before it deletes a definition. */
export function Delete({
  name,
  run,
  then,
}: {
  name: string;
  run: () => Promise<unknown>;
  then: () => void;
}): JSX.Element {
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState("");
  if (error) return <span class="failed" role="alert">{error}</span>;
  if (!asking) {
    return (
      <button type="button" class="danger" onClick={() => setAsking(true)}>
        {t("delete")}
      </button>
    );
  }
  const confirmed = async () => {
    try {
      await run();
      then();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  return (
    <>
      <button type="button" class="danger" autoFocus onClick={() => void confirmed()}>
        {t("delete_really", { name })}
      </button>
      <button type="button" class="quiet" onClick={() => setAsking(false)}>
        {t("cancel")}
      </button>
    </>
  );
}
