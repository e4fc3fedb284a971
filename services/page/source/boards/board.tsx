/** The tiles of a dashboard on their grid, which an editor arranges by dragging or by keys. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { t } from "../words";
import { Icon } from "../parts/icons";
import { byKey, moved } from "./arrange";
import { TileBody, TileHead, nameOf } from "./tile";
import type { Draft, Tile } from "./types";

export function Board({
  draft,
  editing,
  onTiles,
  onEdit,
}: {
  draft: Draft;
  editing: boolean;
  onTiles: (tiles: Tile[]) => void;
  onEdit: (tile: Tile) => void;
}): JSX.Element {
  const grid = useRef<HTMLDivElement>(null);
  const [held, hold] = useState("");
  const [said, say] = useState("");
  const focused = useRef("");
  const { tiles } = draft;

  useEffect(() => {
    // A tile that was moved is another place of the document, which may take the focus away.
    if (!focused.current) return;
    grid.current?.querySelector<HTMLElement>(`[data-handle="${focused.current}"]`)?.focus();
    focused.current = "";
  }, [tiles]);

  const press = (event: KeyboardEvent, tile: Tile) => {
    const next = byKey(tiles, tile.id, event.key, event.shiftKey);
    if (!next) return;
    event.preventDefault();
    focused.current = tile.id;
    onTiles(next);
    const at = next.findIndex((one) => one.id === tile.id);
    const now = next[at];
    say(
      t("tile_placed", {
        name: nameOf(tile),
        place: at + 1,
        of: next.length,
        width: now?.width ?? 2,
        height: now?.height ?? 2,
      }),
    );
  };
  const drag = (event: PointerEvent, tile: Tile) => {
    if (held !== tile.id) return;
    const over = document.elementFromPoint(event.clientX, event.clientY)?.closest<HTMLElement>("[data-tile]");
    const to = tiles.findIndex((one) => one.id === over?.dataset.tile);
    if (to >= 0 && tiles[to]?.id !== tile.id) onTiles(moved(tiles, tile.id, to));
  };

  return (
    <>
      <p class="sr" role="status">
        {said}
      </p>
      <div ref={grid} class={editing ? "board editing" : "board"}>
        {tiles.map((tile) => (
          <section
            key={tile.id}
            data-tile={tile.id}
            class={`card tile w${tile.width ?? 2} h${tile.height ?? 2}${held === tile.id ? " held" : ""}`}
            aria-label={nameOf(tile)}
          >
            <header>
              <TileHead tile={tile} />
              {editing && (
                <span class="tile-tools">
                  <button
                    type="button"
                    class="quiet handle"
                    data-handle={tile.id}
                    aria-label={t("tile_move", { name: nameOf(tile) })}
                    title={t("tile_move_how")}
                    onKeyDown={(event) => press(event, tile)}
                    onPointerDown={(event) => {
                      event.currentTarget.setPointerCapture(event.pointerId);
                      hold(tile.id);
                    }}
                    onPointerMove={(event) => drag(event, tile)}
                    onPointerUp={() => hold("")}
                    onPointerCancel={() => hold("")}
                    onLostPointerCapture={() => hold("")}
                  >
                    <Icon name="move" />
                  </button>
                  <button type="button" class="link" onClick={() => onEdit(tile)}>
                    {t("edit")}
                    <span class="sr"> {nameOf(tile)}</span>
                  </button>
                  <button
                    type="button"
                    class="quiet"
                    aria-label={t("tile_remove", { name: nameOf(tile) })}
                    onClick={() => onTiles(tiles.filter((one) => one.id !== tile.id))}
                  >
                    <Icon name="close" />
                  </button>
                </span>
              )}
            </header>
            <div class="tile-body" tabIndex={0} role="group" aria-label={nameOf(tile)}>
              <TileBody tile={tile} range={draft.range} where={draft.where} />
            </div>
          </section>
        ))}
      </div>
    </>
  );
}
