/** The pages by their names in the address; each is loaded when it is first opened. */
import type { JSX } from "preact";

export type Page = () => JSX.Element | null;

export const PAGES: Record<string, () => Promise<Page>> = {
  overview: async () => (await import("./overview")).Overview,
  dashboards: async () => (await import("./dashboards")).Dashboards,
  explore: async () => (await import("./explore")).Explore,
  persons: async () => (await import("./persons")).Persons,
  funnels: async () => (await import("./funnels")).Funnels,
  segments: async () => (await import("./segments")).Segments,
  cohorts: async () => (await import("./cohorts")).Cohorts,
  metrics: async () => (await import("./metrics")).Metrics,
  predictions: async () => (await import("./predictions")).Predictions,
  alerts: async () => (await import("./alerts")).Alerts,
  subscriptions: async () => (await import("./subscriptions")).Subscriptions,
  feed: async () => (await import("./feed")).Feed,
  definitions: async () => (await import("./definitions")).Definitions,
  plans: async () => (await import("./plans")).Plans,
  keys: async () => (await import("./keys")).Keys,
  rejected: async () => (await import("./rejected")).Rejected,
  system: async () => (await import("./system")).System,
  sessions: async () => (await import("./sessions")).Sessions,
};
