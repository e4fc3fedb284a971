/** A tile of a dashboard of our own: it asks for its figures, and moves as they do. */
import type { JSX } from "preact";
import { post } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { now } from "../state/health";
import { events, latest } from "../state/live";
import { project } from "../state/session";
import { t } from "../words";
import { Failed, Loading, StateBadge } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { address } from "../state/router";
import type { Filters, Range, Shown, Tile } from "./types";
import { type Live, TileView } from "./views";

// Queries are asked again this often while events come, and what the stream says at once.
const EVERY_MS = 5_000;
const LEAST_MS = 700;

const PLACES = {
  funnel: "funnels",
  cohort: "cohorts",
  metric: "metrics",
  active: "metrics",
  segment: "segments",
  prediction: "predictions",
} as const;
type Defined = Extract<Tile, { kind: keyof typeof PLACES }>;

/** The kind and the id of the definition that a tile shows, if it shows one. */
export function definitionOf(tile: Tile): { plural: (typeof PLACES)[Defined["kind"]]; id: string } | undefined {
  switch (tile.kind) {
    case "funnel":
      return { plural: "funnels", id: tile.funnel };
    case "cohort":
      return { plural: "cohorts", id: tile.cohort };
    case "metric":
    case "active":
      return { plural: "metrics", id: tile.metric };
    case "segment":
      return { plural: "segments", id: tile.segment };
    case "prediction":
      return { plural: "predictions", id: tile.prediction };
    default:
      return undefined;
  }
}

export function nameOf(tile: Tile): string {
  if (tile.title) return tile.title;
  const shown = definitionOf(tile);
  const held = shown && (definitions.value?.[shown.plural] as { id: string; name?: string }[] | undefined);
  const found = held?.find((one) => one.id === shown?.id);
  if (shown) return found ? titleOf(found) : shown.id;
  return t(`tile_${tile.kind}`);
}

export function shownOf(tile: Tile): Shown {
  return {
    id: tile.id,
    kind: tile.kind,
    name: nameOf(tile),
    text: tile.kind === "text" ? tile.text : "",
    width: tile.width ?? 2,
    height: tile.height ?? 2,
  };
}

export function TileBody({ tile, range, where }: { tile: Tile; range: Range; where: Filters }): JSX.Element {
  const { title: _title, width: _width, height: _height, ...asked } = tile;
  const filtered = where.length > 0;
  const isLiveFeed = tile.kind === "feed" && !filtered;
  const shown = definitionOf(tile);
  const live = shown && latest.value[shown.plural].get(shown.id);
  const mark = live
    ? `${live.version}/${live.state}/${live.updated_at}`
    : isLiveFeed || tile.kind === "text"
      ? ""
      : Math.floor(now.value / EVERY_MS);
  const { value, error } = useAsked(
    JSON.stringify([project.value, asked, range, where]),
    () =>
      isLiveFeed || tile.kind === "text"
        ? Promise.resolve({ id: tile.id, answered_by: "nothing" as const, kind: tile.kind, period: null, ignores: [], figures: null })
        : post("/api/projects/{project}/tile", { project: project.value }, { tile: asked as Tile, range, where }),
    mark,
    live ? LEAST_MS : EVERY_MS,
  );
  if (error && !value) return <Failed message={error} />;
  if (!value) return <Loading />;
  return (
    <>
      <TileView tile={shownOf(tile)} figures={value} live={liveOf(tile, range, isLiveFeed)} />
      {error && <Failed message={error} />}
      {value.ignores.length > 0 && <p class="note">{t("tile_ignores")}</p>}
    </>
  );
}

/** What the live connection has for a tile; its own days are not those of a range. */
function liveOf(tile: Tile, range: Range, isLiveFeed: boolean): Live {
  const ranged = Boolean(range.last_days ?? range.from);
  const held = latest.value;
  switch (tile.kind) {
    case "funnel":
      return { funnel: held.funnels.get(tile.funnel) };
    case "metric":
      return ranged && range.to ? {} : { metric: held.metrics.get(tile.metric) };
    case "active":
      return { metric: held.metrics.get(tile.metric) };
    case "segment":
      return { segment: held.segments.get(tile.segment) };
    case "prediction":
      return { prediction: held.predictions.get(tile.prediction) };
    case "feed":
      return isLiveFeed
        ? { events: tile.event ? events.value.filter((one) => one.event === tile.event) : events.value }
        : {};
    default:
      return {};
  }
}

/** The state of a definition that is not live yet, and where a tile leads. */
export function TileHead({ tile }: { tile: Tile }): JSX.Element {
  const shown = definitionOf(tile);
  const live = shown && latest.value[shown.plural].get(shown.id);
  const place = shown
    ? address(project.value, shown.plural, shown.id)
    : tile.kind === "feed"
      ? address(project.value, "feed")
      : "";
  return (
    <>
      <h2>{place ? <a href={place}>{nameOf(tile)}</a> : nameOf(tile)}</h2>
      {live && live.state !== "live" && <StateBadge state={live.state} backfilled={live.backfilled} />}
    </>
  );
}
