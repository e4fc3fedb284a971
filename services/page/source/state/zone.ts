/** The time zone of the open project, in whose days it is counted. */
import { effect, signal } from "@preact/signals";
import { get } from "./api";
import { project, session } from "./session";

export const zone = signal("UTC");

/** Read the project's time zone, now and whenever another project is opened. */
export function followZone(): () => void {
  return effect(() => {
    if (!session.value) return;
    const opened = project.value;
    get("/api/projects/{project}/settings", { project: opened }).then(
      (found) => {
        if (opened === project.peek()) zone.value = found.timezone ?? "UTC";
      },
      () => undefined, // away: the days of UTC until then, as of a project without settings
    );
  });
}

/** The day (2026-11-30) that it was some days ago, in the project's time zone. */
export function dayAgo(days: number, of: string = zone.value): string {
  const parts = new Intl.DateTimeFormat("en-CA", { timeZone: of, dateStyle: "short" });
  return parts.format(Date.now() - days * 86_400_000);
}

/** When a day (2026-11-30) ends in a time zone, in ms since 1970. */
export function endOf(day: string, timeZone: string): number {
  const end = Date.parse(`${day}T00:00:00Z`) + 86_400_000;
  const local = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" });
  const ahead = Date.parse(`${local.format(end).replace(" ", "T")}Z`) - end;
  return end - ahead;
}
