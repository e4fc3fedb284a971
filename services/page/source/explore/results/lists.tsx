/** The persons of a rule, and events: what is listed, page by page. */
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../../state/api";
import { count, moment } from "../../state/format";
import { address } from "../../state/router";
import { project } from "../../state/session";
import { t } from "../../words";
import type { Requests } from "../requests";
import { Failed } from "../../parts/notes";
import { AsTable } from "../../parts/table";

/** The first page, as it is asked for again, and those after it, which are of the same positions. */
function useMore<T>(first: { rows: T[]; next: string | null }, read: (after: string) => Promise<{ rows: T[]; next: string | null }>) {
  const [more, setMore] = useState<{ rows: T[]; next: string | null }>();
  const [error, setError] = useState("");
  useEffect(() => setMore(undefined), [first]);
  const next = (more ?? first).next;
  const shown = [...first.rows, ...(more?.rows ?? [])];
  const ask = async () => {
    if (next === null) return;
    try {
      const page = await read(next);
      setMore({ rows: [...(more?.rows ?? []), ...page.rows], next: page.next });
      setError("");
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
  };
  const button = next !== null && (
    <button type="button" onClick={() => void ask()}>
      {t("show_more")}
    </button>
  );
  return { shown, foot: <>{error ? <Failed message={error} /> : button}</> };
}

export function SegmentMembers({
  answer,
  request,
}: {
  answer: Schemas["SegmentQueryResponse"];
  request: Requests["segment"];
}): JSX.Element {
  const [first, setFirst] = useState({ rows: answer.persons, next: answer.next });
  useEffect(() => setFirst({ rows: answer.persons, next: answer.next }), [answer]);
  const { shown, foot } = useMore(first, async (after) => {
    const page = await post(
      "/api/projects/{project}/query/segment",
      { project: project.value },
      { ...request, as_of: answer.positions, after },
    );
    return { rows: page.persons, next: page.next };
  });
  return (
    <>
      <p class="big">{count(answer.size)}</p>
      <p class="note">{t("persons_now")}</p>
      {shown.length > 0 && (
        <ul class="persons" aria-label={t("persons")}>
          {shown.map((person) => (
            <li key={person}>
              <a href={address(project.value, "persons", person)}>{person}</a>
            </li>
          ))}
        </ul>
      )}
      {foot}
      <AsTable
        caption={t("persons")}
        columns={[{ title: t("person") }]}
        rows={shown.map((person) => [person])}
      />
    </>
  );
}

export function Events({
  answer,
  request,
}: {
  answer: Schemas["EventsResponse"];
  request: Requests["events"];
}): JSX.Element {
  const [first, setFirst] = useState({ rows: answer.events, next: answer.next });
  useEffect(() => setFirst({ rows: answer.events, next: answer.next }), [answer]);
  const { shown, foot } = useMore(first, async (after) => {
    const page = await post(
      "/api/projects/{project}/query/events",
      { project: project.value },
      { ...request, as_of: answer.positions, after },
    );
    return { rows: page.events, next: page.next };
  });
  if (!shown.length) return <p class="note">{t("no_events_in_range")}</p>;
  return (
    <>
      <ol class="timeline of-persons" aria-label={t("events")}>
        {shown.map((one) => (
          <li key={one.event_id}>
            <time dateTime={one.timestamp}>{moment(one.timestamp)}</time>
            <b>{one.event}</b>
            <a href={address(project.value, "persons", one.person)}>{one.person}</a>
            <code>{JSON.stringify(one.properties)}</code>
          </li>
        ))}
      </ol>
      {foot}
      <AsTable
        caption={t("events")}
        columns={[
          { title: t("time"), show: moment },
          { title: t("event") },
          { title: t("person") },
          { title: t("properties") },
        ]}
        rows={shown.map((one) => [one.timestamp, one.event, one.person, JSON.stringify(one.properties)])}
      />
    </>
  );
}
