/** Whether the parts of the system answer, asked every few seconds while the page is seen. */
import { computed, signal } from "@preact/signals";
import { get } from "./api";
import { aliveAt, connected } from "./live";
import { session } from "./session";

const EVERY_MS = 3_000;
// Checks go on for seconds when a part is away; a connection that just opens is no trouble yet.
const PATIENCE_MS = 1_500;

export const checks = signal<Record<string, string>>({});
export const askedAt = signal(0);
export const now = signal(Date.now());
const answers = signal(true);
const troubledSince = signal(0);

export type Part = "service" | "stream" | "worker" | "broker" | "store" | "views";

/** The parts that are away now, and why. */
export const away = computed<Map<Part, string>>(() => {
  const found = new Map<Part, string>();
  if (!answers.value) found.set("service", "");
  for (const [name, said] of Object.entries(checks.value)) {
    if (said === "ok") continue;
    if (name === "worker" && (checks.value.broker ?? "ok") !== "ok") continue;
    if (name === "worker" || name === "broker" || name === "store") found.set(name, said);
    else found.set("views", said);
  }
  const opened = aliveAt.value || openedAt;
  if (!connected.value && now.value - opened > PATIENCE_MS && !found.has("service")) {
    found.set("stream", "");
  }
  return found;
});

/** Since when (ms) what is shown may be old; 0 if it is not. */
export const oldSince = computed(() => {
  if (!away.value.size) return 0;
  if (!connected.value && aliveAt.value) return Math.min(aliveAt.value, troubledSince.value || Infinity);
  return troubledSince.value || aliveAt.value || openedAt;
});

const openedAt = Date.now();

export function startClock(): void {
  setInterval(() => {
    now.value = Date.now();
  }, 1_000);
}

export function startHealth(): void {
  startClock();
  const ask = async () => {
    if (session.peek() && !document.hidden) {
      const begun = Date.now();
      try {
        const said = await get("/health");
        checks.value = said.checks;
        answers.value = true;
      } catch {
        answers.value = false;
      }
      askedAt.value = Date.now();
      const trouble = !answers.peek() || Object.values(checks.peek()).some((one) => one !== "ok");
      if (!trouble) troubledSince.value = 0;
      else if (!troubledSince.peek()) troubledSince.value = begun;
    }
    setTimeout(() => void ask(), EVERY_MS);
  };
  void ask();
}
