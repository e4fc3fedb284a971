/** Numbers, times and shares as the chosen language, and the reader's region, write them. */
import { language, t } from "../words";

/** The reader's own variant of the chosen language, such as en-GB, if the browser names one. */
export function locale(): string {
  const regions = navigator.languages.filter((one) => one.toLowerCase().startsWith(language.value));
  return regions.find(isTag) ?? language.value;
}

/** Whether `Intl` accepts a language: some systems name one like `en-US@posix`, at which it throws. */
function isTag(text: string): boolean {
  try {
    return Intl.getCanonicalLocales(text).length > 0;
  } catch {
    return false;
  }
}

export function count(value: number | null | undefined): string {
  return value === null || value === undefined ? "–" : numbers().format(value);
}

export function decimal(value: number | null | undefined, digits = 2): string {
  if (value === null || value === undefined) return "–";
  return new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);
}

/** A large number in few characters: 12.3K. */
export function short(value: number): string {
  return new Intl.NumberFormat(locale(), {
    notation: "compact",
    maximumFractionDigits: 1,
  }).format(value);
}

export function share(value: number | null | undefined, digits = 1): string {
  if (value === null || value === undefined) return "–";
  return new Intl.NumberFormat(locale(), {
    style: "percent",
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);
}

export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "–";
  const seconds = ms / 1_000;
  if (seconds < 1) return `${count(Math.round(ms))} ms`;
  if (seconds < 60) return `${decimal(seconds, 1)} s`;
  if (seconds < 3_600) return `${decimal(seconds / 60, 1)} min`;
  if (seconds < 2 * 86_400) return `${decimal(seconds / 3_600, 1)} h`;
  return `${decimal(seconds / 86_400, 1)} d`;
}

/** How long ago something was, in one unit. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  const units: [Intl.RelativeTimeFormatUnit, number][] = [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
    ["second", 1],
  ];
  for (const [unit, size] of units) {
    if (seconds >= size || unit === "second") {
      const format = new Intl.RelativeTimeFormat(locale(), { style: "narrow" });
      return format.format(-Math.floor(seconds / size), unit);
    }
  }
  return "";
}

export function time(value: number | string | Date): string {
  return new Intl.DateTimeFormat(locale(), { timeStyle: "medium" }).format(new Date(value));
}

/** A moment, in the reader's time zone or another one. */
export function moment(value: number | string | Date, timeZone?: string): string {
  return new Intl.DateTimeFormat(locale(), {
    dateStyle: "medium",
    timeStyle: "medium",
    timeZone,
  }).format(new Date(value));
}

/** The interval that begins at a time, in the time zone that it is of. */
export function interval(begin: string, length: string, timeZone: string): string {
  const options: Intl.DateTimeFormatOptions =
    length === "month"
      ? { month: "short", year: "numeric" }
      : length === "minute" || length === "hour"
        ? { dateStyle: "medium", timeStyle: "short" }
        : { dateStyle: "medium" };
  return new Intl.DateTimeFormat(locale(), { ...options, timeZone }).format(new Date(begin));
}

/** A day as the API has it, which is of no time zone: 2026-11-30. */
export function day(value: string): string {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium", timeZone: "UTC" }).format(
    new Date(`${value}T00:00:00Z`),
  );
}

/** The month that begins on a day. */
export function month(value: string): string {
  return new Intl.DateTimeFormat(locale(), {
    month: "short",
    year: "numeric",
    timeZone: "UTC",
  }).format(new Date(`${value}T00:00:00Z`));
}

/** A value of a property, which may be any JSON. */
export function shown(value: unknown): string {
  if (value === null || value === undefined) return t("not_set");
  return typeof value === "string" ? value : JSON.stringify(value);
}

function numbers(): Intl.NumberFormat {
  return new Intl.NumberFormat(locale());
}
