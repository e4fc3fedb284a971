/** The events of a person, the newest first, page by page. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../state/api";
import { type LiveEvent, events as liveEvents } from "../state/live";
import { moment } from "../state/format";
import { project } from "../state/session";
import { t } from "../words";
import { Suggest } from "../parts/suggest";
import { Failed } from "../parts/notes";
import { AsTable } from "../parts/table";

type Event = Schemas["EventResponse"];
const PAGE = 50;

export function Timeline({ person, first }: { person: string; first: Schemas["PersonResponse"] }): JSX.Element {
  const [older, setOlder] = useState<{ events: Event[]; next: string | null }>();
  const [only, setOnly] = useState("");
  const [error, setError] = useState("");
  const ask = async (event: string, after: string) => {
    try {
      const page = await post(
        "/api/projects/{project}/query/events",
        { project: project.peek() },
        { person, event: event || undefined, after, limit: PAGE },
      );
      setOlder((before) => ({
        events: [...(after ? (before?.events ?? []) : []), ...page.events],
        next: page.next,
      }));
      setError("");
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  // Those that come while the page is open are shown at once; the store has them a moment later.
  const live = liveEvents.value.filter((one) => one.person_id === person).map(asStored);
  const found = only ? (older?.events ?? []) : [...first.events, ...(older?.events ?? [])];
  const events = distinct([...found, ...live.filter((one) => !only || one.event === only)]);
  const next = older ? older.next : first.next;
  const filter = (name: string) => {
    setOnly(name);
    setOlder(undefined);
    if (name) void ask(name, "");
  };
  return (
    <>
      <div class="filter">
        <Suggest
          label={t("filter_timeline")}
          wanted={{ of: "event" }}
          value={only}
          onValue={filter}
        />
      </div>
      {error && <Failed message={error} />}
      {events.length === 0 && !error && <p class="note">{t("no_match")}</p>}
      <ol class="timeline" aria-label={t("timeline")}>
        {events.map((one) => (
          <li key={one.event_id}>
            <time dateTime={one.timestamp}>{moment(one.timestamp)}</time>
            <b>{one.event}</b>
            <code>{JSON.stringify(one.properties)}</code>
          </li>
        ))}
      </ol>
      {next !== null && (
        <button type="button" onClick={() => void ask(only, next)}>
          {t("show_older")}
        </button>
      )}
      <AsTable
        caption={`${person} ${t("timeline")}`}
        columns={[{ title: t("time"), show: moment }, { title: t("event") }, { title: t("properties") }]}
        rows={events.map((one) => [one.timestamp, one.event, JSON.stringify(one.properties)])}
      />
    </>
  );
}

type Shown = Pick<Event, "event_id" | "event" | "timestamp" | "properties">;

function asStored(one: LiveEvent): Shown {
  const { event_id, event, properties } = one;
  return { event_id, event, properties, timestamp: new Date(one.timestamp).toISOString() };
}

/** Events once each, the newest first; those of one moment as the service has them. */
function distinct(events: Shown[]): Shown[] {
  const found = [...new Map([...events].reverse().map((one) => [one.event_id, one])).values()].reverse();
  return found.sort((one, other) => Date.parse(other.timestamp) - Date.parse(one.timestamp));
}
