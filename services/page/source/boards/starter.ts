/** A first dashboard: what a project has defined, in an order that reads well. */
import type { Lists } from "../state/definitions";
import type { Draft, Tile } from "./types";

export function starterOf(name: string, held: Lists | undefined): Partial<Draft> {
  const tiles: Tile[] = [];
  const add = (tile: Tile | undefined) => tile && tiles.push({ ...tile, id: `tile-${tiles.length + 1}` });
  const id = "";
  const active = held?.metrics.find((one) => one.measure === "persons");
  add({ kind: "number", id, width: 1, height: 1, query: { series: [{ measure: "events" }], interval: "day", last: 7, compare: true } });
  add(active && { kind: "active", id, width: 2, height: 1, metric: active.id });
  for (const one of held?.segments.slice(0, 1) ?? []) add({ kind: "segment", id, width: 1, height: 1, segment: one.id });
  for (const one of held?.funnels.slice(0, 1) ?? []) add({ kind: "funnel", id, width: 2, height: 2, funnel: one.id });
  add({ kind: "feed", id, width: 2, height: 2 });
  for (const one of held?.metrics.slice(0, 2) ?? []) add({ kind: "metric", id, width: 2, height: 2, metric: one.id });
  for (const one of held?.cohorts.slice(0, 1) ?? []) add({ kind: "cohort", id, width: 2, height: 2, cohort: one.id });
  add({ kind: "top", id, width: 2, height: 2, query: { limit: 10 } });
  for (const one of held?.predictions.slice(0, 1) ?? []) {
    add({ kind: "prediction", id, width: 2, height: 2, prediction: one.id });
  }
  return { name, tiles };
}
