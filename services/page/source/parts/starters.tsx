/** Definitions that any project can begin with, made by one click. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { ApiError, post } from "../state/api";
import { readDefinitions } from "../state/definitions";
import { mayWrite, project } from "../state/session";
import { t } from "../words";

type Kind = "metrics" | "cohorts" | "segments";

export function Starters({ kinds }: { kinds: Kind[] }): JSX.Element | null {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  if (!mayWrite.value) return <p class="note">{t("viewer_note")}</p>;
  const create = async () => {
    setBusy(true);
    const places = { project: project.value };
    const makers: Record<Kind, (() => Promise<unknown>)[]> = {
      metrics: [
        () =>
          post("/api/projects/{project}/metrics", places, {
            id: "events",
            name: t("starter_events"),
            measure: "events",
            by_event: true,
            bucket_s: 60,
          }),
        () =>
          post("/api/projects/{project}/metrics", places, {
            id: "active",
            name: t("starter_active"),
            measure: "persons",
            bucket_s: 86_400,
          }),
      ],
      cohorts: [
        () =>
          post("/api/projects/{project}/cohorts", places, {
            id: "retention",
            name: t("starter_retention"),
            start: {},
            period: "week",
          }),
      ],
      segments: [
        () =>
          post("/api/projects/{project}/segments", places, {
            id: "active-this-week",
            name: t("starter_segment"),
            rule: { last_seen: { within_s: 7 * 86_400 } },
          }),
      ],
    };
    try {
      for (const make of kinds.flatMap((kind) => makers[kind])) {
        await make().catch((failure: unknown) => {
          // There from before: that is what was asked for.
          if (!(failure instanceof ApiError && failure.code === "conflict")) throw failure;
        });
      }
      await readDefinitions();
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    } finally {
      setBusy(false);
    }
  };
  return (
    <div>
      <button type="button" class="primary" disabled={busy} onClick={() => void create()}>
        {t(kinds.length > 1 ? "create_starters" : "create_starter")}
      </button>
      {error && (
        <p class="failed" role="alert">
          {error}
        </p>
      )}
    </div>
  );
}
