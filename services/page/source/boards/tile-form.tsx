/** The form of one tile: what it shows, its title and its size, with the tile as it will be. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { definitions, titleOf } from "../state/definitions";
import { t } from "../words";
import { Icon } from "../parts/icons";
import { Suggest } from "../parts/suggest";
import { MOST_HIGH, MOST_WIDE } from "./arrange";
import { TileBody } from "./tile";
import type { Draft, Tile, TileKind } from "./types";

const KINDS: TileKind[] = [
  "funnel",
  "cohort",
  "metric",
  "trend",
  "number",
  "active",
  "feed",
  "segment",
  "top",
  "prediction",
  "query",
  "text",
];
const QUERY_KINDS = ["trends", "lifecycle", "stickiness", "sessions", "paths", "funnel", "cohort", "values"] as const;
const LISTS = {
  funnel: "funnels",
  cohort: "cohorts",
  metric: "metrics",
  active: "metrics",
  segment: "segments",
  prediction: "predictions",
} as const;
const PREVIEW_MS = 400;
type Fields = {
  kind: TileKind;
  title: string;
  of: string;
  event: string;
  measure: "events" | "persons";
  interval: "hour" | "day" | "week" | "month";
  compare: boolean;
  property: string;
  query: string;
  queryKind: (typeof QUERY_KINDS)[number];
  text: string;
  width: number;
  height: number;
  /** The query of a tile, where these fields cannot show it. */
  raw: boolean;
};

export function TileForm({
  tile,
  draft,
  onSave,
  onClose,
}: {
  tile: Tile | undefined;
  draft: Draft;
  onSave: (tile: Tile) => void;
  onClose: () => void;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [fields, setFields] = useState<Fields>(() => fieldsOf(tile));
  const change = (part: Partial<Fields>) => setFields((before) => ({ ...before, ...part }));
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  const id = tile?.id ?? freeTileId(draft.tiles);
  const made = tileOf(id, fields);
  const [previewed, preview] = useState(made);
  useEffect(() => {
    const timer = setTimeout(() => preview(made), PREVIEW_MS);
    return () => clearTimeout(timer);
  }, [JSON.stringify(made)]);
  const choices = listOf(fields.kind);
  return (
    <dialog ref={dialog} class="drawer" aria-label={tile ? t("tile_edit") : t("tile_add")} onClose={onClose}>
      <header>
        <h2>{tile ? t("tile_edit") : t("tile_add")}</h2>
        <button type="button" class="quiet" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          if (made) onSave(made);
        }}
      >
        <label>
          {t("tile_shows")}
          <select
            value={fields.kind}
            onChange={(event) => {
              const kind = event.currentTarget.value as TileKind;
              change({ kind, of: listOf(kind)?.[0]?.id ?? "", raw: false });
            }}
          >
            {KINDS.map((kind) => (
              <option key={kind} value={kind}>
                {t(`tile_${kind}`)}
              </option>
            ))}
          </select>
        </label>
        {choices && (
          <label>
            {t("tile_which")}
            <select required value={fields.of} onChange={(event) => change({ of: event.currentTarget.value })}>
              {!choices.some((one) => one.id === fields.of) && <option value={fields.of}>{fields.of || "–"}</option>}
              {choices.map((one) => (
                <option key={one.id} value={one.id}>
                  {titleOf(one)}
                </option>
              ))}
            </select>
          </label>
        )}
        <QueryFields fields={fields} change={change} />
        <label>
          {t("tile_title")}
          <input value={fields.title} maxLength={200} onInput={(event) => change({ title: event.currentTarget.value })} />
        </label>
        <div class="row">
          <label class="narrow">
            {t("tile_width")}
            <input
              type="number"
              min="1"
              max={MOST_WIDE}
              required
              value={fields.width}
              onInput={(event) => change({ width: Number(event.currentTarget.value) })}
            />
          </label>
          <label class="narrow">
            {t("tile_height")}
            <input
              type="number"
              min="1"
              max={MOST_HIGH}
              required
              value={fields.height}
              onInput={(event) => change({ height: Number(event.currentTarget.value) })}
            />
          </label>
        </div>
        {made && previewed && (
          <section class="card" aria-label={t("preview")}>
            <header>
              <h2>{t("preview")}</h2>
            </header>
            <TileBody tile={previewed} range={draft.range} where={draft.where} />
          </section>
        )}
        <div class="actions">
          <button type="submit" class="primary" disabled={!made}>
            {tile ? t("tile_take") : t("tile_add")}
          </button>
          <button type="button" class="quiet" onClick={() => dialog.current?.close()}>
            {t("cancel")}
          </button>
        </div>
      </form>
    </dialog>
  );
}

function QueryFields({ fields, change }: { fields: Fields; change: (part: Partial<Fields>) => void }): JSX.Element | null {
  const { kind } = fields;
  const eventField = (
    <label>
      {t("event")}
      <Suggest
        wanted={{ of: "event" }}
        label={t("event")}
        placeholder={t("any_event")}
        value={fields.event}
        onValue={(event) => change({ event })}
      />
    </label>
  );
  if (kind === "text") {
    return (
      <label>
        {t("tile_text")}
        <textarea
          rows={5}
          required
          maxLength={2_000}
          value={fields.text}
          onInput={(event) => change({ text: event.currentTarget.value })}
        />
      </label>
    );
  }
  if (kind === "query" || fields.raw) {
    return (
      <>
        {kind === "query" && (
          <label>
            {t("kind")}
            <select
              value={fields.queryKind}
              onChange={(event) => change({ queryKind: event.currentTarget.value as Fields["queryKind"] })}
            >
              {QUERY_KINDS.map((one) => (
                <option key={one} value={one}>
                  {one}
                </option>
              ))}
            </select>
          </label>
        )}
        <label>
          {t("tile_query_json")}
          <textarea
            class="code"
            rows={8}
            required
            spellcheck={false}
            value={fields.query}
            onInput={(event) => change({ query: event.currentTarget.value })}
          />
        </label>
      </>
    );
  }
  if (kind === "feed") return eventField;
  if (kind === "top") {
    return (
      <>
        {eventField}
        <label>
          {t("property")}
          <Suggest
            wanted={{ of: "property", event: fields.event.trim() || undefined }}
            label={t("property")}
            placeholder={t("event_name")}
            value={fields.property}
            onValue={(property) => change({ property })}
          />
        </label>
      </>
    );
  }
  if (kind !== "trend" && kind !== "number") return null;
  return (
    <>
      {eventField}
      <div class="row">
        <label>
          {t("measure")}
          <select
            value={fields.measure}
            onChange={(event) => change({ measure: event.currentTarget.value as Fields["measure"] })}
          >
            <option value="events">{t("measure_events")}</option>
            <option value="persons">{t("measure_persons")}</option>
          </select>
        </label>
        <label>
          {t("interval")}
          <select
            value={fields.interval}
            onChange={(event) => change({ interval: event.currentTarget.value as Fields["interval"] })}
          >
            {(["hour", "day", "week", "month"] as const).map((one) => (
              <option key={one} value={one}>
                {t(`interval_${one}`)}
              </option>
            ))}
          </select>
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={fields.compare}
            onChange={(event) => change({ compare: event.currentTarget.checked })}
          />
          {t("compare_before")}
        </label>
      </div>
    </>
  );
}

function listOf(kind: TileKind): { id: string; name?: string }[] | undefined {
  if (!(kind in LISTS)) return undefined;
  const held = definitions.value;
  if (kind === "active") return held?.metrics.filter((one) => one.measure === "persons") ?? [];
  return (held?.[LISTS[kind as keyof typeof LISTS]] as { id: string; name?: string }[] | undefined) ?? [];
}

function fieldsOf(tile: Tile | undefined): Fields {
  const fields: Fields = {
    kind: tile?.kind ?? "funnel",
    title: tile?.title ?? "",
    of: definitionsOf(tile) ?? listOf("funnel")?.[0]?.id ?? "",
    event: "",
    measure: "events",
    interval: "day",
    compare: true,
    property: "",
    query: "{}",
    queryKind: "trends",
    text: tile?.kind === "text" ? tile.text : "",
    width: tile?.width ?? 2,
    height: tile?.height ?? 2,
    raw: false,
  };
  if (!tile || !("query" in tile)) return tile?.kind === "feed" ? { ...fields, event: tile.event ?? "" } : fields;
  const query = JSON.stringify(tile.query, null, 2);
  if (tile.kind === "query") return { ...fields, query, queryKind: tile.of };
  const known = { ...fields, ...partsOf(tile) };
  // What these fields cannot show is edited as it is.
  const again = tileOf(tile.id, known);
  const same = again && "query" in again && JSON.stringify(again.query) === JSON.stringify(tile.query);
  return { ...known, query, raw: !same };
}

function partsOf(tile: Extract<Tile, { kind: "trend" | "number" | "top" }>): Partial<Fields> {
  if (tile.kind === "top") return { event: tile.query.event ?? "", property: tile.query.property ?? "" };
  const series = tile.query.series[0];
  return {
    event: series?.event ?? "",
    measure: series?.measure === "persons" ? "persons" : "events",
    interval: (tile.query.interval ?? "day") as Fields["interval"],
    compare: tile.query.compare ?? false,
  };
}

function definitionsOf(tile: Tile | undefined): string | undefined {
  switch (tile?.kind) {
    case "funnel":
      return tile.funnel;
    case "cohort":
      return tile.cohort;
    case "metric":
    case "active":
      return tile.metric;
    case "segment":
      return tile.segment;
    case "prediction":
      return tile.prediction;
    default:
      return undefined;
  }
}

/** The tile that the fields say; undefined while they say none. */
function tileOf(id: string, fields: Fields): Tile | undefined {
  const { kind, of } = fields;
  const common = { id, title: fields.title.trim(), width: fields.width, height: fields.height };
  const event = fields.event.trim() || undefined;
  if (kind in LISTS && !of) return undefined;
  if (fields.raw || kind === "query") {
    const query = parsed(fields.query);
    if (!query) return undefined;
    return (kind === "query" ? { ...common, kind, of: fields.queryKind, query } : { ...common, kind, query }) as Tile;
  }
  switch (kind) {
    case "funnel":
      return { ...common, kind, funnel: of };
    case "cohort":
      return { ...common, kind, cohort: of };
    case "metric":
    case "active":
      return { ...common, kind, metric: of };
    case "segment":
      return { ...common, kind, segment: of };
    case "prediction":
      return { ...common, kind, prediction: of };
    case "feed":
      return { ...common, kind, ...(event ? { event } : {}) };
    case "text":
      return fields.text.trim() ? { ...common, kind, text: fields.text } : undefined;
    case "top": {
      const property = fields.property.trim();
      const query = { ...(event ? { event } : {}), ...(property ? { property } : {}), limit: 10 };
      return { ...common, kind, query };
    }
    default: {
      const series = [{ ...(event ? { event } : {}), measure: fields.measure }];
      const query = { series, interval: fields.interval, compare: fields.compare };
      return { ...common, kind, query };
    }
  }
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null && !Array.isArray(found)
      ? (found as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

function freeTileId(tiles: readonly Tile[]): string {
  const taken = new Set(tiles.map((one) => one.id));
  let n = tiles.length + 1;
  while (taken.has(`tile-${n}`)) n++;
  return `tile-${n}`;
}
