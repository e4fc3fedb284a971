/** A button that sends the rejected records of a reason again, once what was wrong is mended. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { post } from "../state/api";
import { count } from "../state/format";
import { project } from "../state/session";
import { t } from "../words";
import { Failed } from "./notes";

export function Reinject({ reason, known }: { reason: string; known: number }): JSX.Element {
  const [asking, setAsking] = useState(false);
  const [busy, setBusy] = useState(false);
  const [said, say] = useState("");
  const [error, setError] = useState("");
  const send = async () => {
    setBusy(true);
    setError("");
    let sent = 0;
    let lost = 0;
    try {
      let after: Record<string, number> | null = null;
      do {
        const done: { sent: number; lost: number; next: Record<string, number> | null } = await post(
          "/api/projects/{project}/rejected/reinject",
          { project: project.value },
          { reason, after, limit: 1_000 },
        );
        sent += done.sent;
        lost += done.lost;
        after = done.next;
        say(t("reinjected", { n: count(sent) }) + (lost ? ` ${t("reinject_lost", { n: count(lost) })}` : ""));
      } while (after);
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    } finally {
      setBusy(false);
      setAsking(false);
    }
  };
  return (
    <div class="reinject">
      {!asking && (
        <button type="button" disabled={busy} onClick={() => setAsking(true)}>
          {t("reinject")}
          <span class="sr"> {reason}</span>
        </button>
      )}
      {asking && (
        <>
          <p>{t("reinject_note")}</p>
          <button type="button" class="primary" autoFocus disabled={busy} onClick={() => void send()}>
            {t("reinject_really", { n: count(known) })}
          </button>
          <button type="button" class="quiet" disabled={busy} onClick={() => setAsking(false)}>
            {t("cancel")}
          </button>
        </>
      )}
      {said && <p role="status">{said}</p>}
      {error && <Failed message={error} />}
    </div>
  );
}
