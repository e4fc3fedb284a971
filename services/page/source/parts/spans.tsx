/** Spans of time in a form: an amount and its unit, where the API has seconds. */
import type { JSX } from "preact";
import { t } from "../words";
import { Amount, Choice } from "./fields";

export const UNITS = { seconds: 1, minutes: 60, hours: 3_600, days: 86_400 } as const;
export type Unit = keyof typeof UNITS;
export const UNIT_NAMES = Object.keys(UNITS) as Unit[];

export interface Span {
  amount: string;
  unit: Unit;
}

/** The span of some seconds, in the largest unit of which it is a whole number. */
export function spanOf(seconds: number): Span {
  const unit = [...UNIT_NAMES].reverse().find((one) => seconds > 0 && seconds % UNITS[one] === 0) ?? "seconds";
  return { amount: String(seconds / UNITS[unit]), unit };
}

export function secondsOf(span: Span): number {
  return Math.max(0, Math.round((Number(span.amount) || 0) * UNITS[span.unit]));
}

export function SpanField({
  label,
  value,
  onValue,
  min = 1,
}: {
  label: string;
  value: Span;
  onValue: (value: Span) => void;
  min?: 0 | 1;
}): JSX.Element {
  return (
    <div class="span">
      <Amount
        label={label}
        required
        min={min}
        step="any"
        value={value.amount}
        onValue={(amount) => onValue({ ...value, amount })}
      />
      <Choice
        hidden
        label={t("unit_of", { name: label })}
        prefix="unit"
        options={UNIT_NAMES}
        value={value.unit}
        onValue={(unit) => onValue({ ...value, unit })}
      />
    </div>
  );
}
