/** The definitions of the open project, read again when the live connection shows a change. */
import { effect, signal } from "@preact/signals";
import { type Schemas, get } from "./api";
import { connections, latest } from "./live";
import { project, session } from "./session";

export interface Lists {
  funnels: Schemas["FunnelResponse"][];
  segments: Schemas["SegmentResponse"][];
  cohorts: Schemas["CohortResponse"][];
  metrics: Schemas["MetricResponse"][];
  predictions: Schemas["PredictionResponse"][];
}

/** Undefined until they have been read. */
export const definitions = signal<Lists | undefined>(undefined);
export const unreadable = signal("");

let reading = 0;

export async function readDefinitions(): Promise<void> {
  const mine = ++reading;
  const places = { project: project.peek() };
  try {
    const [funnels, segments, cohorts, metrics, predictions] = await Promise.all([
      every((after) => get("/api/projects/{project}/funnels", places, { limit: 200, after }), "funnels"),
      every((after) => get("/api/projects/{project}/segments", places, { limit: 200, after }), "segments"),
      every((after) => get("/api/projects/{project}/cohorts", places, { limit: 200, after }), "cohorts"),
      every((after) => get("/api/projects/{project}/metrics", places, { limit: 200, after }), "metrics"),
      every(
        (after) => get("/api/projects/{project}/predictions", places, { limit: 200, after }),
        "predictions",
      ),
    ]);
    if (mine !== reading) return;
    definitions.value = { funnels, segments, cohorts, metrics, predictions };
    unreadable.value = "";
  } catch (error) {
    if (mine === reading) unreadable.value = error instanceof Error ? error.message : String(error);
  }
}

async function every<N extends string, T>(
  ask: (after: string) => Promise<{ [K in N]: T[] } & { next: string | null }>,
  name: N,
): Promise<T[]> {
  const found: T[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: { [K in N]: T[] } & { next: string | null } = await ask(after);
    found.push(...page[name]);
    after = page.next;
  }
  return found;
}

export function startDefinitions(): void {
  let shown = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  effect(() => {
    const open = session.value ? project.value : "";
    const versions = Object.entries(latest.value)
      .flatMap(([kind, held]) => [...held.values()].map((one) => `${kind}/${one.id}/${one.version}`))
      .sort()
      .join(" ");
    const next = `${open} ${connections.value} ${versions}`;
    if (next === shown) return;
    const moved = !shown.startsWith(`${open} `);
    shown = next;
    clearTimeout(timer);
    if (!open) return;
    if (moved) definitions.value = undefined;
    timer = setTimeout(() => void readDefinitions(), moved ? 0 : 150);
  });
}

/** The name of a definition, or its id if it has none. */
export function titleOf(one: { id: string; name?: string }): string {
  return one.name || one.id;
}

