import type { JSX } from "preact";
import { events } from "../state/live";
import { address } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { EventRows } from "../parts/events";
import { Head } from "../parts/shell";
import { Starters } from "../parts/starters";

/** What a project without definitions is shown: how to send the first event, and its arrival. */
export function FirstEvent(): JSX.Element {
  const arrived = events.value.length > 0;
  const host = location.hostname.includes(":") ? `[${location.hostname}]` : location.hostname;
  const port = location.port === "8080" ? 8000 : Number(location.port) - 1;
  const command =
    `curl http://${host}:${port}/v1/events -u awk_YOUR_WRITE_KEY: \\\n` +
    `  -H 'content-type: application/json' -d '\n` +
    `  {"events": [{"event": "signup", "distinct_id": "ada",\n` +
    `               "properties": {"plan": "pro"}}]}'`;
  return (
    <>
      <Head title={t("welcome", { project: project.value })} note={t("welcome_note")} />
      <ol class="start">
        <li>
          <h2>{t("start_key")}</h2>
          <pre class="snippet" tabIndex={0}>avila keys create --project {project.value}</pre>
        </li>
        <li>
          <h2>{t("start_send")}</h2>
          <pre class="snippet" tabIndex={0}>{command}</pre>
          <p class="note">{t("start_sdks")}</p>
        </li>
        <li>
          <h2>{arrived ? t("first_event_came") : t("first_event_waits")}</h2>
          <div role="status">
            {arrived ? (
              <EventRows rows={events.value.slice(0, 5)} compact />
            ) : (
              <p class="note">{t("first_event_note")}</p>
            )}
          </div>
        </li>
        <li>
          <h2>{t("start_define")}</h2>
          <p class="note">{t("start_define_note")}</p>
          {mayWrite.value && (
            <div class="actions">
              <a class="button" href={address(project.value, "funnels", "+new")}>
                {t("new_funnel")}
              </a>
              <Starters kinds={["metrics", "cohorts", "segments"]} />
            </div>
          )}
        </li>
      </ol>
    </>
  );
}
