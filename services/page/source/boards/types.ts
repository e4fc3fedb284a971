/** Dashboards and tiles, as the API has them. */
import type { Schemas } from "../state/api";

export type Dashboard = Schemas["DashboardResponse"];
export type Tile = Schemas["TileRequest"]["tile"];
export type TileKind = Tile["kind"];
export type Range = Schemas["DashboardRange"];
export type Filters = NonNullable<Schemas["NewDashboard"]["where"]>;
export type Figures = Schemas["TileResponse"];

/** What of a dashboard its readers may change, and its editors save. */
export interface Draft {
  name: string;
  description: string;
  tiles: Tile[];
  range: Range;
  where: Filters;
}

export function draftOf(held: Dashboard): Draft {
  const { name, description, tiles, range, where } = held;
  return { name, description, tiles, range, where };
}

/** What is drawn: a tile, of a dashboard of our own or of a link. */
export interface Shown {
  id: string;
  kind: TileKind;
  name: string;
  text: string;
  width: number;
  height: number;
}

export const ROW_PX = 132;

/** How many pixels a chart has in a tile of a height. */
export function chartHeight(height: number): number {
  return height * ROW_PX + (height - 1) * 14 - 74;
}
