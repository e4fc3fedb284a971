/** The answer to a request that is being edited. */
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, type Schemas, post } from "../state/api";
import { project } from "../state/session";
import type { QueryName } from "./draft";
import type { Requests } from "./requests";

const PAUSE_MS = 350;
const AGAIN_MS = 15_000;
// Pages of these are of the events of the first one, so they do not move by themselves.
const LISTS: ReadonlySet<QueryName> = new Set(["segment", "events"]);

export interface Answers {
  trends: Schemas["TrendsResponse"];
  funnel: Schemas["FunnelQueryResponse"];
  cohort: Schemas["CohortQueryResponse"];
  lifecycle: Schemas["LifecycleResponse"];
  stickiness: Schemas["StickinessResponse"];
  paths: Schemas["PathsResponse"];
  sessions: Schemas["SessionsResponse"];
  segment: Schemas["SegmentQueryResponse"];
  events: Schemas["EventsResponse"];
}

export interface Preview<N extends QueryName> {
  /** The last answer, which stays until the next has come. */
  answer: Answers[N] | undefined;
  /** The request that it answers. */
  of: Requests[N] | undefined;
  error: string;
  /** The field of the request that the error is about. */
  field: string;
  busy: boolean;
}

/**
 * Ask when the request has not changed for a moment, and cancel what was asked before. While the page
 * is seen, the same is asked again from time to time, so that the answer moves.
 */
export function usePreview<N extends QueryName>(
  name: N,
  request: Requests[N] | undefined,
): Preview<N> {
  const [held, hold] = useState<Preview<N> & { name: N }>(empty(name));
  const [round, setRound] = useState(0);
  const asked = useRef("");
  const key = request && `${project.value} ${name} ${JSON.stringify(request)}`;
  useEffect(() => {
    if (!request || !key) {
      hold((before) => ({ ...(before.name === name ? before : empty(name)), busy: false, error: "" }));
      return;
    }
    const cancel = new AbortController();
    const first = asked.current === "";
    const same = asked.current === key;
    if (!same) hold((before) => ({ ...(before.name === name ? before : empty(name)), busy: true }));
    const timer = setTimeout(
      () => {
        asked.current = key;
        const path = `/api/projects/{project}/query/${name}` as "/api/projects/{project}/query/trends";
        post(path, { project: project.peek() }, request as Requests["trends"], cancel.signal).then(
          (answer) =>
            hold({
              name,
              answer: answer as unknown as Answers[N],
              of: request,
              error: "",
              field: "",
              busy: false,
            }),
          (failure: unknown) => {
            if (cancel.signal.aborted) return;
            const { message, field } = failure instanceof ApiError ? failure : { message: String(failure), field: "" };
            hold((before) => ({ ...before, name, error: message, field, busy: false }));
          },
        );
      },
      first || same ? 0 : PAUSE_MS,
    );
    return () => {
      clearTimeout(timer);
      cancel.abort();
    };
  }, [key, round]);
  useEffect(() => {
    if (LISTS.has(name)) return;
    const timer = setInterval(() => {
      if (!document.hidden) setRound((before) => before + 1);
    }, AGAIN_MS);
    return () => clearInterval(timer);
  }, [name]);
  return held.name === name ? held : empty(name);
}

function empty<N extends QueryName>(name: N): Preview<N> & { name: N } {
  return { name, answer: undefined, of: undefined, error: "", field: "", busy: true };
}
