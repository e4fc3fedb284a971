/** The fields that all forms are made of: each shows a value, and hands back what is entered. */
import type { JSX } from "preact";
import { t } from "../words";
import type { Word } from "../words";
import { Icon } from "./icons";

interface Valued<T> {
  label: string;
  value: T;
  onValue: (value: T) => void;
}

export function TextField({
  label,
  value,
  onValue,
  type = "text",
  max = 200,
  required = false,
  placeholder,
}: Valued<string> & {
  type?: "text" | "date" | "datetime-local";
  max?: number;
  required?: boolean;
  placeholder?: string;
}): JSX.Element {
  const common = {
    value,
    required,
    placeholder,
    onInput: (event: { currentTarget: HTMLInputElement }) => onValue(event.currentTarget.value),
  };
  if (type === "date" || type === "datetime-local") {
    return (
      <label class="narrow time">
        {label}
        <input type={type} {...common} />
      </label>
    );
  }
  return (
    <label>
      {label}
      <input type="text" maxLength={max} {...common} />
    </label>
  );
}

export function AreaField({
  label,
  value,
  onValue,
  rows = 3,
  code = false,
  required = false,
  placeholder,
}: Valued<string> & { rows?: number; code?: boolean; required?: boolean; placeholder?: string }): JSX.Element {
  return (
    <label>
      {label}
      <textarea
        class={code ? "code" : ""}
        rows={rows}
        value={value}
        required={required}
        placeholder={placeholder}
        spellcheck={false}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    </label>
  );
}

export function Amount({
  label,
  value,
  onValue,
  min = 1,
  max,
  step,
  required = false,
}: Valued<string> & {
  /** The least that is accepted; null for any number. */
  min?: number | null;
  max?: number;
  /** "any" for numbers with a fraction. */
  step?: "any";
  required?: boolean;
}): JSX.Element {
  return (
    <label class="narrow">
      {label}
      <input
        type="number"
        min={min ?? undefined}
        max={max}
        step={step}
        required={required}
        value={value}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    </label>
  );
}

export function Check({ label, value, onValue }: Valued<boolean>): JSX.Element {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => onValue(event.currentTarget.checked)} />
      {label}
    </label>
  );
}

interface Selected<O extends string> extends Valued<O> {
  /** Whether the label is for screen readers alone. */
  hidden?: boolean;
  /** Whether its options are long. */
  wide?: boolean;
  required?: boolean;
}

/** A choice among options with titles. */
export function Select<O extends string>({
  label,
  value,
  onValue,
  options,
  hidden = false,
  wide = false,
  required = false,
}: Selected<O> & { options: readonly (readonly [O, string])[] }): JSX.Element {
  const select = (
    <select
      aria-label={label}
      value={value}
      required={required}
      onChange={(event) => onValue(event.currentTarget.value as O)}
    >
      {options.map(([one, title]) => (
        <option key={one} value={one}>
          {title}
        </option>
      ))}
    </select>
  );
  if (hidden) return select;
  return (
    <label class={wide ? "" : "narrow"}>
      {label}
      {select}
    </label>
  );
}

/** A choice whose options are words: `<prefix>_<option>`. */
export function Choice<O extends string>({
  prefix,
  options,
  ...rest
}: Selected<O> & { prefix: string; options: readonly O[] }): JSX.Element {
  return <Select {...rest} options={options.map((one) => [one, t(`${prefix}_${one}` as Word)] as const)} />;
}

export function replaced<T>(list: readonly T[], at: number, part: Partial<T>): T[] {
  return list.map((one, place) => (place === at ? { ...one, ...part } : one));
}

interface Pressed {
  label: string;
  onClick: () => void;
  disabled?: boolean;
}

export function Without({ label, onClick, disabled = false }: Pressed): JSX.Element {
  return (
    <button type="button" class="quiet" aria-label={label} disabled={disabled} onClick={onClick}>
      <Icon name="close" />
    </button>
  );
}

export function More({ label, onClick, disabled = false }: Pressed): JSX.Element {
  return (
    <button type="button" class="quiet add" disabled={disabled} onClick={onClick}>
      <Icon name="plus" />
      {label}
    </button>
  );
}
