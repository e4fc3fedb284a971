import type { JSX } from "preact";
import type { LiveEvent } from "../state/live";
import { time } from "../state/format";
import { address } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";

/** Events as rows, the newest first; what they say is text, whatever it looks like. */
export function EventRows({ rows, compact = false }: { rows: readonly LiveEvent[]; compact?: boolean }): JSX.Element {
  return (
    <ol class={compact ? "feed short" : "feed"} aria-label={t("page_feed")}>
      {rows.map((one) => (
        <li key={one.event_id} class="fresh">
          <time dateTime={new Date(one.timestamp).toISOString()}>{time(one.timestamp)}</time>
          <b title={one.event}>{one.event}</b>
          <span title={one.person_id}>
            {/* Whoever sees a dashboard by its link is not told who did it. */}
            {one.person_id && <a href={address(project.value, "persons", one.person_id)}>{one.person_id}</a>}
          </span>
          <code>{typeof one.properties === "string" ? one.properties : JSON.stringify(one.properties)}</code>
        </li>
      ))}
    </ol>
  );
}
