/** What a component asks the service for: again when its key changes, and quietly when told so. */
import { useEffect, useRef, useState } from "preact/hooks";

export interface Asked<T> {
  value: T | undefined;
  error: string;
}

const LEAST_MS = 700;

/**
 * Ask for something. A new `key` shows nothing until the answer comes; a new `mark` keeps what is
 * shown, and asks at most once in `least` milliseconds.
 */
export function useAsked<T>(
  key: string,
  ask: () => Promise<T>,
  mark: unknown = "",
  least = LEAST_MS,
): Asked<T> {
  const [held, hold] = useState<Asked<T> & { key: string }>({ key, value: undefined, error: "" });
  const last = useRef(0);
  const present = useRef(0);
  useEffect(() => {
    const wait = held.key === key ? Math.max(0, last.current + least - Date.now()) : 0;
    const timer = setTimeout(() => {
      last.current = Date.now();
      const mine = ++present.current;
      ask().then(
        (value) => mine === present.current && hold({ key, value, error: "" }),
        (error: unknown) =>
          mine === present.current &&
          hold((before) => ({
            key,
            value: before.key === key ? before.value : undefined,
            error: error instanceof Error ? error.message : String(error),
          })),
      );
    }, wait);
    return () => clearTimeout(timer);
  }, [key, mark]);
  return held.key === key ? held : { value: undefined, error: "" };
}

/** A number that rises every `ms` milliseconds, while the page is seen. */
export function useTick(ms: number): number {
  const [tick, setTick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setTick((before) => before + 1);
    }, ms);
    return () => clearInterval(timer);
  }, [ms]);
  return tick;
}
