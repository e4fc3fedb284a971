import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { eventCount, events, rate } from "../state/live";
import type { LiveEvent } from "../state/live";
import { count, decimal } from "../state/format";
import { t } from "../words";
import { EventRows } from "../parts/events";
import { Icon } from "../parts/icons";
import { Empty } from "../parts/notes";
import { Head } from "../parts/shell";

const SHOWN = 100;

export function Feed(): JSX.Element {
  const [held, setHeld] = useState<readonly LiveEvent[] | null>(null);
  const [heldAt, setHeldAt] = useState(0);
  const [wanted, setWanted] = useState("");
  const search = wanted.trim().toLowerCase();
  const rows = (held ?? events.value)
    .filter((one) => !search || text(one).includes(search))
    .slice(0, SHOWN);
  const missed = eventCount.value - heldAt;
  return (
    <>
      <Head
        title={t("page_feed")}
        note={held ? t("feed_paused", { n: count(missed) }) : t("feed_note", { rate: decimal(rate.value, 1) })}
      >
        <button
          type="button"
          aria-pressed={held !== null}
          onClick={() => {
            setHeldAt(eventCount.value);
            setHeld(held ? null : events.value);
          }}
        >
          <Icon name={held ? "play" : "pause"} />
          {held ? t("resume") : t("pause")}
        </button>
      </Head>
      <section class="card">
        <label class="filter">
          <span class="sr">{t("filter_events")}</span>
          <input
            type="search"
            placeholder={t("filter_events")}
            value={wanted}
            onInput={(event) => setWanted(event.currentTarget.value)}
          />
        </label>
        {rows.length > 0 ? (
          <EventRows rows={rows} />
        ) : (
          <Empty title={search ? t("no_match") : t("no_events_yet")}>{t("feed_waits")}</Empty>
        )}
      </section>
    </>
  );
}

function text(one: LiveEvent): string {
  return `${one.event} ${one.person_id} ${JSON.stringify(one.properties)}`.toLowerCase();
}
