import type { JSX } from "preact";

const PATHS = {
  overview: "M3 3h6v7H3zM11 3h6v4h-6zM11 9h6v8h-6zM3 12h6v5H3z",
  dashboards: "M3 3h14v5H3zM3 11h6v6H3zM12 11h5v6h-5z",
  move: "M10 3v14M3 10h14M8 5l2-2 2 2M8 15l2 2 2-2M5 8l-2 2 2 2M15 8l2 2-2 2",
  funnels: "M3 4h14M5.5 8.5h9M8 13h4M9 17h2",
  segments: "M8 11a4 4 0 1 1 0-8 4 4 0 0 1 0 8M12 17a4 4 0 1 1 0-8 4 4 0 0 1 0 8",
  cohorts: "M3 3h14v14H3zM3 8h14M8 3v14M13 3v5M8 12.5h4",
  metrics: "M3 15l4-5 3.5 3L17 5",
  predictions: "M10 3v3M10 14v3M3 10h3M14 10h3M5.5 5.5l1.8 1.8M12.7 12.7l1.8 1.8M14.5 5.5l-1.8 1.8M7.3 12.7l-1.8 1.8",
  alerts: "M5 14V9a5 5 0 0 1 10 0v5l1.500 1.500h-13zM8.500 18h3",
  subscriptions: "M3 5h14v10H3zM3 5.500l7 5.500 7-5.500",
  flag: "M5 17V3M5 4h10l-2.500 3.500L15 11H5",
  feed: "M3 5h14M3 10h14M3 15h9",
  definitions: "M5 3h7l3 3v11H5zM8 9h4M8 13h4",
  plans: "M4 3h12v14H4zM7 8l1.5 1.5L11 7M7 13l1.5 1.5L11 12M13 8.5h1M13 13.5h1",
  keys: "M12.5 8.5a3.5 3.5 0 1 0-2.5-1l-7 7v2.5h2.5l1-1v-1.5h1.5l1-1v-1.5l1.5-1.5",
  rejected: "M10 3l8 14H2zM10 8v4M10 14.4v.2",
  system: "M3 10h3l2-5 4 10 2-5h3",
  sessions: "M10 10a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M3.5 17c.8-3 3.2-4.5 6.500-4.500s5.700 1.5 6.500 4.500",
  explore: "M9 15a6 6 0 1 1 0-12 6 6 0 0 1 0 12M13.5 13.5L17 17M6.500 10l1.800-2.5 1.700 1.5L12 6.500",
  persons: "M7.500 10a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2 16.500c.6-2.600 2.800-4 5.500-4s4.900 1.400 5.500 4M13.5 4.400a3 3 0 0 1 0 5.200M15 12.900c1.600.5 2.700 1.800 3 3.600",
  exact: "M10 17a7 7 0 1 1 0-14 7 7 0 0 1 0 14M7 10.200l2.200 2.200L13.300 8",
  menu: "M3 5h14M3 10h14M3 15h14",
  close: "M5 5l10 10M15 5L5 15",
  plus: "M10 4v12M4 10h12",
  up: "M5 12l5-5 5 5",
  down: "M5 8l5 5 5-5",
  pause: "M7 4v12M13 4v12",
  play: "M6 4l9 6-9 6z",
  table: "M3 4h14v12H3zM3 8h14M9 8v8",
  back: "M12 4l-6 6 6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
