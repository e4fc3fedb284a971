/**
 * Results and events as they come, from the live WebSocket.
 *
 * Messages are applied once per animation frame, however many come. While the tab is hidden they
 * are applied when it is shown again. A connection that is lost, or was asleep, is opened again, and
 * begins with the latest state of everything, so nothing has to be caught up.
 */
import { batch, effect, signal } from "@preact/signals";
import type { Schemas } from "./api";
import { project, readSession, session } from "./session";

export type LiveFunnel = Schemas["LiveFunnel"];
export type LiveMetric = Schemas["LiveMetric"];
export type LivePrediction = Schemas["LivePrediction"];
export type LiveSegment = Schemas["LiveSegment"];
export type LiveCohort = Schemas["LiveCohort"];

export interface LiveEvent {
  event_id: string;
  event: string;
  person_id: string;
  timestamp: number;
  received_at?: number | null;
  properties: unknown;
}

interface Results {
  funnels: LiveFunnel;
  metrics: LiveMetric;
  predictions: LivePrediction;
  segments: LiveSegment;
  cohorts: LiveCohort;
}
export type Kind = keyof Results;
export const KINDS: readonly Kind[] = ["funnels", "segments", "cohorts", "metrics", "predictions"];
const MAX_EVENTS = 500;
const RATE_MS = 10_000;
const RETRY_MS = [300, 1_000, 2_000, 4_000];
const SLEPT_MS = 8_000;

type Latest = { [K in Kind]: ReadonlyMap<string, Results[K]> };
const nothing = (): Latest => ({
  funnels: new Map(),
  segments: new Map(),
  cohorts: new Map(),
  metrics: new Map(),
  predictions: new Map(),
});

export const latest = signal<Latest>(nothing());
/** The newest events first, and how many there were. */
export const events = signal<readonly LiveEvent[]>([]);
export const eventCount = signal(0);
/** Events a second, over the last ten. */
export const rate = signal(0);
export const connected = signal(false);
/** How many connections were opened. */
export const connections = signal(0);
/** When the connection was last known to be alive (ms since 1970); 0 before the first. */
export const aliveAt = signal(0);

let socket: WebSocket | undefined;
let retries = 0;
let retry: ReturnType<typeof setTimeout> | undefined;
let waiting: Record<string, unknown>[] = [];
let framed = false;
const replacing = new Set<Kind>();
let counts: { at: number; events: number }[] = [];

/** Follow the open project, as long as somebody is signed in. */
export function startLive(): void {
  let followed = "";
  effect(() => {
    const next = session.value ? project.value : "";
    if (next === followed) return;
    followed = next;
    forget();
    disconnect();
    if (next) connect(next);
  });
  let tickedAt = Date.now();
  setInterval(() => {
    const now = Date.now();
    if (now - tickedAt > SLEPT_MS && followed) reconnect(followed); // the machine was asleep
    tickedAt = now;
    if (connected.peek()) aliveAt.value = now;
    updateRate(now);
  }, 1_000);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (followed && !connected.peek()) reconnect(followed);
    flush();
  });
  addEventListener("online", () => followed && reconnect(followed));
}

function forget(): void {
  waiting = [];
  counts = [];
  batch(() => {
    latest.value = nothing();
    events.value = [];
    eventCount.value = 0;
    rate.value = 0;
    aliveAt.value = 0;
  });
}

function reconnect(name: string): void {
  disconnect();
  connect(name);
}

function disconnect(): void {
  clearTimeout(retry);
  const old = socket;
  socket = undefined;
  connected.value = false;
  old?.close();
}

function connect(name: string): void {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const place = `/api/projects/${encodeURIComponent(name)}/live`;
  const opened = new WebSocket(`${scheme}://${location.host}${place}`);
  socket = opened;
  opened.onmessage = ({ data }) => {
    if (socket !== opened) return;
    const message = JSON.parse(data as string) as Record<string, unknown>;
    if (message.ready) {
      retries = 0;
      connected.value = true;
      connections.value++;
      aliveAt.value = Date.now();
      for (const kind of [...KINDS, "events"]) opened.send(JSON.stringify({ subscribe: kind }));
      return;
    }
    waiting.push(message);
    if (!framed && !document.hidden) {
      framed = true;
      requestAnimationFrame(flush);
    } else if (waiting.length > 200) {
      flush(); // hidden for long: keep the latest, not the messages
    }
  };
  opened.onclose = () => {
    if (socket !== opened) return;
    connected.value = false;
    // It may be closed, or refused, because the session has ended.
    readSession().catch(() => undefined);
    const wait = RETRY_MS[Math.min(retries++, RETRY_MS.length - 1)];
    retry = setTimeout(() => connect(name), wait);
  };
}

function flush(): void {
  framed = false;
  if (!waiting.length) return;
  const messages = waiting;
  waiting = [];
  const changed = { ...latest.peek() } as Record<Kind, Map<string, never>>;
  const came: LiveEvent[] = [];
  let count = 0;
  for (const message of messages) {
    if (message.events) {
      const some = message.events as LiveEvent[];
      came.push(...some);
      count += some.length + (message.sampled_out as number) + (message.dropped as number);
    }
    // The first message after this has all results of a kind, and none that was deleted meanwhile.
    if (message.subscribed) replacing.add(message.subscribed as Kind);
    for (const kind of KINDS) {
      if (!message[kind]) continue;
      const next = new Map(replacing.delete(kind) ? [] : changed[kind]);
      for (const one of message[kind] as { id: string }[]) next.set(one.id, one as never);
      for (const id of message.deleted as string[]) next.delete(id);
      changed[kind] = next;
    }
  }
  const now = Date.now();
  batch(() => {
    latest.value = changed as Latest;
    aliveAt.value = now;
    if (count) {
      events.value = [...came.reverse(), ...events.peek()].slice(0, MAX_EVENTS);
      eventCount.value += count;
      counts.push({ at: now, events: count });
      updateRate(now);
    }
  });
}

function updateRate(now: number): void {
  counts = counts.filter(({ at }) => now - at < RATE_MS);
  rate.value = counts.reduce((sum, one) => sum + one.events, 0) / (RATE_MS / 1_000);
}
