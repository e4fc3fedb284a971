/** Persons: search, one person's profile, and why a person has not converted. */
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../state/api";
import { count, moment } from "../state/format";
import { address, route } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { Empty, Failed, Loading } from "../parts/notes";
import { Head } from "../parts/shell";
import { PersonPage } from "../persons/profile";
import { TracePage } from "../persons/trace";

type Person = Schemas["PersonSummaryResponse"];
const PAUSE_MS = 250;
const LISTED = 50;

export function Persons(): JSX.Element {
  const { id, more } = route.value;
  if (id && more) return <TracePage person={id} funnel={more} />;
  return id ? <PersonPage person={id} /> : <PersonList />;
}

function PersonList(): JSX.Element {
  const [search, setSearch] = useState("");
  const [found, setFound] = useState<Person[]>();
  const [next, setNext] = useState<string | null>(null);
  const [exact, setExact] = useState<Record<string, number>>();
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(true);

  const read = async (after: string, signal?: AbortSignal) => {
    setBusy(true);
    try {
      const page = await post(
        "/api/projects/{project}/query/persons",
        { project: project.peek() },
        { search: search.trim(), limit: LISTED, ...(after ? { after, as_of: exact } : {}) },
        signal,
      );
      setFound((before) => [...(after ? (before ?? []) : []), ...page.persons]);
      setNext(page.next);
      setExact(page.positions);
      setError("");
      setBusy(false);
    } catch (failure) {
      if (signal?.aborted) return;
      setError(failure instanceof Error ? failure.message : String(failure));
      setBusy(false);
    }
  };
  useEffect(() => {
    const cancel = new AbortController();
    const timer = setTimeout(() => void read("", cancel.signal), search ? PAUSE_MS : 0);
    return () => {
      clearTimeout(timer);
      cancel.abort();
    };
  }, [search, project.value]);

  return (
    <>
      <Head title={t("page_persons")} note={t("persons_note")} />
      <section class="card">
        <label class="filter">
          <span class="sr">{t("search_persons")}</span>
          <input
            type="search"
            placeholder={t("search_persons")}
            maxLength={200}
            value={search}
            onInput={(event) => setSearch(event.currentTarget.value)}
          />
        </label>
        {error && <Failed message={error} />}
        {!found && !error && <Loading />}
        {found?.length === 0 && (
          <Empty title={search ? t("no_person_matches") : t("no_persons")}>
            {search ? t("no_person_matches_note") : t("no_persons_note")}
          </Empty>
        )}
        {found && found.length > 0 && (
          <div class={busy ? "scroll old" : "scroll"} aria-busy={busy}>
            <table class="figures">
              <caption class="sr">{t("page_persons")}</caption>
              <thead>
                <tr>
                  <th scope="col">{t("person")}</th>
                  <th scope="col" class="number">
                    {t("events")}
                  </th>
                  <th scope="col" class="wide">
                    {t("first_seen")}
                  </th>
                  <th scope="col">{t("last_seen")}</th>
                </tr>
              </thead>
              <tbody>
                {found.map((one) => (
                  <tr key={one.person}>
                    <th scope="row" class="wrap">
                      <a href={address(project.value, "persons", one.person)}>{one.person}</a>
                    </th>
                    <td class="number">{count(one.events)}</td>
                    <td class="wide">{moment(one.first_seen)}</td>
                    <td>{moment(one.last_seen)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        {next !== null && (
          <button type="button" disabled={busy} onClick={() => void read(next)}>
            {t("show_more")}
          </button>
        )}
      </section>
    </>
  );
}
