/** A text field that offers what there is to ask for, from the first time that it is entered. */
import { useId, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Wanted, useNames } from "../state/names";

export function Suggest({
  wanted,
  value,
  onValue,
  label,
  placeholder = label,
  required = false,
  class: kind,
}: {
  wanted: Wanted;
  value: string;
  onValue: (value: string) => void;
  label: string;
  placeholder?: string;
  required?: boolean;
  class?: string;
}): JSX.Element {
  const id = useId();
  const [entered, setEntered] = useState(false);
  const names = useNames(entered ? { ...wanted, search: value.trim() } : undefined);
  return (
    <>
      <input
        class={kind}
        aria-label={label}
        placeholder={placeholder}
        list={id}
        autoComplete="off"
        maxLength={200}
        required={required}
        value={value}
        onFocus={() => setEntered(true)}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
      <datalist id={id}>
        {names.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
    </>
  );
}
