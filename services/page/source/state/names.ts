/** What there is to ask for, as fields offer it: names of events, properties and their values. */
import { useEffect, useState } from "preact/hooks";
import { post } from "./api";
import { project } from "./session";

export interface Wanted {
  /** Names of events, of properties, or values of a property. */
  of: "event" | "property" | "person_property" | "value" | "person_value";
  event?: string;
  property?: string;
  search?: string;
}

const KEPT_MS = 30_000;
const WAIT_MS = 250;
const OFFERED = 50;
const kept = new Map<string, { at: number; names: Promise<string[]> }>();

async function read(wanted: Wanted): Promise<string[]> {
  const places = { project: project.peek() };
  const about = { event: wanted.event || undefined, search: wanted.search ?? "", limit: OFFERED };
  if (wanted.of === "property" || wanted.of === "person_property") {
    const of = wanted.of === "property" ? "event" : "person";
    const found = await post("/api/projects/{project}/query/properties", places, { ...about, of });
    return found.properties.map((one) => one.name);
  }
  const found = await post("/api/projects/{project}/query/values", places, {
    ...(wanted.of === "event" ? { ...about, event: undefined } : about),
    ...(wanted.of === "value" ? { property: wanted.property } : {}),
    ...(wanted.of === "person_value" ? { person: wanted.property } : {}),
  });
  return found.values.map((one) => String(one.value));
}

/** Return names, those of some seconds ago if they were asked for then; none if that fails. */
export function namesOf(wanted: Wanted): Promise<string[]> {
  const key = JSON.stringify([project.peek(), wanted]);
  const known = kept.get(key);
  if (known && Date.now() - known.at < KEPT_MS) return known.names;
  const names = read(wanted).catch(() => {
    kept.delete(key);
    return []; // a field without completion is still a field
  });
  if (kept.size > 200) kept.clear();
  kept.set(key, { at: Date.now(), names });
  return names;
}

/** The names for a field while it is edited, asked for when the reader pauses. */
export function useNames(wanted: Wanted | undefined): string[] {
  const [names, setNames] = useState<string[]>([]);
  const key = wanted && JSON.stringify(wanted);
  useEffect(() => {
    if (!wanted) return;
    let left = false;
    const timer = setTimeout(() => {
      void namesOf(wanted).then((found) => left || setNames(found));
    }, wanted.search ? WAIT_MS : 0);
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [key]);
  return names;
}
