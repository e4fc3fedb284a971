/**
 * A dashboard by its link, without signing in. The secret is what follows the `#` of the address:
 * browsers do not send it along, so it is shown in the header of each question instead.
 */
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, withCredential } from "../state/api";
import type { Schemas } from "../state/api";
import { age, day, time } from "../state/format";
import { now } from "../state/health";
import { language, t } from "../words";
import { TileView } from "../boards/views";
import type { Figures, Shown } from "../boards/types";
import { Failed, Loading } from "../parts/notes";

const MOVING_MS = 1_000;
const QUERY_MS = 5_000;
const BOARD_MS = 10_000;
const STREAM_KINDS = new Set(["funnel", "cohort", "metric", "active", "segment", "prediction", "feed"]);

export function Shared({ id }: { id: string }): JSX.Element {
  const [secret, setSecret] = useState(location.hash.slice(1));
  useEffect(() => {
    const changed = () => setSecret(location.hash.slice(1));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return <SharedBoard key={secret} id={id} secret={secret} />;
}

function SharedBoard({ id, secret }: { id: string; secret: string }): JSX.Element {
  const { value: board, error, at } = usePolled(BOARD_MS, () =>
    withCredential(secret, () => get("/shared/{id}/dashboard", { id })),
  );
  const title = board?.name ?? "";
  useEffect(() => {
    document.title = title ? `${title} · Avila` : "Avila";
    document.documentElement.lang = language.value;
  }, [title, language.value]);
  if (error?.ended) return <Ended message={t("link_ended")} />;
  if (!board) return error ? <Ended message={error.message} /> : <Loading />;
  const old = error && at ? now.value - at : 0;
  return (
    <main class="shared" id="main">
      <header class="head">
        <div>
          <h1>{board.name}</h1>
          {board.description && <p class="note">{board.description}</p>}
          {board.first_day && board.last_day && (
            <p class="note">{t("board_days", { from: day(board.first_day), to: day(board.last_day) })}</p>
          )}
          {board.filtered && <p class="note">{t("board_filtered")}</p>}
        </div>
      </header>
      {old > 0 && at && (
        <div class="away" role="status">
          <strong>{t("away_service")}</strong> {t("as_of", { time: time(at), age: age(old) })}
        </div>
      )}
      <div class="board">
        {board.tiles.map((tile) => (
          <SharedTile key={tile.id} id={id} secret={secret} tile={tile} />
        ))}
      </div>
    </main>
  );
}

function SharedTile({
  id,
  secret,
  tile,
}: {
  id: string;
  secret: string;
  tile: Schemas["SharedTile"];
}): JSX.Element {
  const wait = STREAM_KINDS.has(tile.kind) ? MOVING_MS : QUERY_MS;
  const { value, error } = usePolled(wait, () =>
    withCredential(secret, () => get("/shared/{id}/tiles/{tile}", { id, tile: tile.id })),
  );
  const shown = { ...tile, name: tile.name || t(`tile_${tile.kind}` as "tile_funnel") } as Shown;
  return (
    <section class={`card tile w${tile.width} h${tile.height}`} aria-label={shown.name}>
      <header>
        <h2>{shown.name}</h2>
      </header>
      <div class="tile-body" tabIndex={0} role="group" aria-label={shown.name}>
        {error && !value && <Failed message={error.message} />}
        {!value && !error && <Loading />}
        {value && <TileView tile={shown} figures={value as Figures} live={{}} />}
      </div>
    </section>
  );
}

function Ended({ message }: { message: string }): JSX.Element {
  return (
    <main class="shared ended" id="main">
      <h1>Avila</h1>
      <Failed message={message} />
    </main>
  );
}

interface Polled<T> {
  value: T | undefined;
  error: { message: string; ended: boolean } | undefined;
  /** When the last answer came (ms since 1970). */
  at: number;
}

/** Ask now and again, while the page is seen; what was answered last stays shown. */
function usePolled<T>(wait: number, ask: () => Promise<T>): Polled<T> {
  const [held, hold] = useState<Polled<T>>({ value: undefined, error: undefined, at: 0 });
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const run = async () => {
      clearTimeout(timer);
      try {
        const value = await ask();
        if (!over) hold({ value, error: undefined, at: Date.now() });
      } catch (failure) {
        const ended = (failure as { status?: number }).status === 401;
        const message = failure instanceof Error ? failure.message : String(failure);
        if (!over) hold((before) => ({ ...before, error: { message, ended } }));
        if (ended) return;
      }
      if (!over && !document.hidden) timer = setTimeout(() => void run(), wait);
    };
    const seen = () => document.hidden || void run();
    void run();
    document.addEventListener("visibilitychange", seen);
    return () => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, []);
  return held;
}
