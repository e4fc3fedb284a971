/** Where tiles go: pure functions on their order and size. */
import type { Tile } from "./types";

export const MOST_WIDE = 4;
export const MOST_HIGH = 4;

/** The tiles with one of them at the place of another. */
export function moved(tiles: readonly Tile[], id: string, to: number): Tile[] {
  const from = tiles.findIndex((one) => one.id === id);
  const tile = tiles[from];
  if (!tile) return [...tiles];
  const others = tiles.filter((one) => one.id !== id);
  const place = Math.max(0, Math.min(others.length, to));
  return [...others.slice(0, place), tile, ...others.slice(place)];
}

/** The tiles with one of them so much wider and higher. */
export function sized(tiles: readonly Tile[], id: string, wider: number, higher: number): Tile[] {
  return tiles.map((one) =>
    one.id === id
      ? {
          ...one,
          width: between((one.width ?? 2) + wider, MOST_WIDE),
          height: between((one.height ?? 2) + higher, MOST_HIGH),
        }
      : one,
  );
}

function between(size: number, most: number): number {
  return Math.max(1, Math.min(most, size));
}

/** What an arrow key does to a tile: it moves it, or with Shift changes its size. */
export function byKey(tiles: readonly Tile[], id: string, key: string, shift: boolean): Tile[] | undefined {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
  if (step === undefined) return undefined;
  if (!shift) return moved(tiles, id, tiles.findIndex((one) => one.id === id) + step);
  const sideways = key === "ArrowLeft" || key === "ArrowRight";
  return sized(tiles, id, sideways ? step : 0, sideways ? 0 : step);
}
