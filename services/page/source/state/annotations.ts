/** The annotations of the open project, which charts show; read while a chart is on the page. */
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Schemas, get } from "./api";
import { project, session } from "./session";

export type Annotation = Schemas["AnnotationResponse"];

/** Those of the last 400 days, the oldest first. */
export const annotations = signal<readonly Annotation[]>([]);

const DAYS = 400;
const AGAIN_MS = 30_000;
let readAt = 0;
let of = "";

export async function readAnnotations(): Promise<void> {
  const opened = project.peek();
  [readAt, of] = [Date.now(), opened];
  const from = new Date(Date.now() - DAYS * 86_400_000).toISOString();
  const found: Annotation[] = [];
  for (let after: string | null = ""; after !== null; ) {
    const page: Schemas["AnnotationListResponse"] = await get(
      "/api/projects/{project}/annotations",
      { project: opened },
      { from, after, limit: 200 },
    );
    found.push(...page.annotations);
    after = page.next;
  }
  if (opened !== project.peek()) return;
  annotations.value = found.sort((one, other) => Date.parse(one.at) - Date.parse(other.at));
}

/** Read the annotations now and from time to time; charts that are beside each other read them once. */
export function useAnnotations(): readonly Annotation[] {
  const opened = project.value;
  useEffect(() => {
    if (!session.peek()) return; // a dashboard that is shared has none
    if (of !== opened) [annotations.value, readAt] = [[], 0];
    const again = () => {
      if (document.hidden || Date.now() - readAt < AGAIN_MS - 1_000) return;
      void readAnnotations().catch(() => undefined); // a chart without its marks is still a chart
    };
    again();
    const timer = setInterval(again, AGAIN_MS);
    return () => clearInterval(timer);
  }, [opened]);
  return annotations.value;
}

/** The annotations between two times, in seconds since 1970. */
export function between(all: readonly Annotation[], from: number, to: number): Annotation[] {
  return all.filter((one) => {
    const at = Date.parse(one.at) / 1_000;
    return at >= from && at < to;
  });
}

/** The address that an annotation leads to, if it is one of the web. */
export function linkOf(one: Annotation): string | undefined {
  return /^https?:\/\//.test(one.url) ? one.url : undefined;
}

/** When the last interval of a chart ends, if all are as long as the one before it. */
export function endOfTimes(times: number[]): number {
  const [before, last] = [times.at(-2), times.at(-1) ?? 0];
  return last + (before === undefined ? 86_400 : last - before);
}
