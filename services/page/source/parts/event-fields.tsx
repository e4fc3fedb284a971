/** The fields of an event filter: its name, and conditions on its properties. */
import type { JSX } from "preact";
import type { Schemas } from "../state/api";
import { t } from "../words";
import { Icon } from "./icons";
import { Suggest } from "./suggest";

type Condition = Extract<Schemas["Condition"], { property: string }>;
type Op = NonNullable<Condition["op"]>;

export interface Row {
  property: string;
  op: Op;
  text: string;
}

const OPS: Op[] = [
  "equals",
  "not_equals",
  "contains",
  "not_contains",
  "starts_with",
  "ends_with",
  "gt",
  "gte",
  "lt",
  "lte",
  "in",
  "not_in",
  "is_set",
  "is_not_set",
];

export function Conditions({
  rows,
  onChange,
  event: about,
  person = false,
}: {
  rows: Row[];
  onChange: (rows: Row[]) => void;
  /** The event that the properties are of, by which they are offered. */
  event?: string;
  /** Whether the properties are those of persons. */
  person?: boolean;
}): JSX.Element {
  const change = (at: number, part: Partial<Row>) =>
    onChange(rows.map((row, place) => (place === at ? { ...row, ...part } : row)));
  return (
    <>
      {rows.map((row, at) => (
        <div class="condition" key={at}>
          <Comparison row={row} onChange={(part) => change(at, part)} event={about} person={person} />
          <button
            type="button"
            class="quiet"
            aria-label={t("remove_condition")}
            onClick={() => onChange(rows.filter((_, place) => place !== at))}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
      <button
        type="button"
        class="quiet add"
        onClick={() => onChange([...rows, { property: "", op: "equals", text: "" }])}
      >
        <Icon name="plus" />
        {t("add_condition")}
      </button>
    </>
  );
}

/** The three fields of a condition: property, comparison and value. */
export function Comparison({
  row,
  onChange,
  event: about,
  person = false,
}: {
  row: Row;
  onChange: (part: Partial<Row>) => void;
  event?: string;
  person?: boolean;
}): JSX.Element {
  return (
    <>
      <Suggest
        label={t("property")}
        required
        wanted={{ of: person ? "person_property" : "property", event: about }}
        value={row.property}
        onValue={(property) => onChange({ property })}
      />
      <select
        aria-label={t("comparison")}
        value={row.op}
        onChange={(event) => onChange({ op: event.currentTarget.value as Op })}
      >
        {OPS.map((op) => (
          <option key={op} value={op}>
            {t(`op_${op}` as "op_equals")}
          </option>
        ))}
      </select>
      {takesValue(row.op) ? (
        <Suggest
          label={t("value")}
          placeholder={row.op === "in" || row.op === "not_in" ? t("values_hint") : t("value")}
          required
          wanted={{ of: person ? "person_value" : "value", event: about, property: row.property }}
          value={row.text}
          onValue={(text) => onChange({ text })}
        />
      ) : (
        <span />
      )}
    </>
  );
}

function takesValue(op: Op): boolean {
  return op !== "is_set" && op !== "is_not_set";
}

/** What the API takes for a row of the form. */
export function conditionOf(row: Row): Condition {
  const { property, op, text } = row;
  if (!takesValue(op)) return { property, op };
  if (op === "in" || op === "not_in") {
    return { property, op, value: text.split(",").map((one) => typed(one.trim())) };
  }
  return { property, op, value: TEXT_OPS.has(op) ? text : typed(text) };
}

const TEXT_OPS = new Set<Op>(["contains", "not_contains", "starts_with", "ends_with"]);

/** A number, true or false as JSON has them; anything else, and what is in quotes, is text. */
function typed(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  if (/^-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?$/.test(text)) return Number(text);
  return /^".*"$/.test(text) ? text.slice(1, -1) : text;
}

/** The row for a condition; undefined for one that this form cannot show. */
export function rowOf(condition: Schemas["QueryFilter"]): Row | undefined {
  if (!("property" in condition)) return undefined;
  const { property, op = "equals", value } = condition;
  if (!OPS.includes(op)) return undefined;
  const texts = (Array.isArray(value) ? value : [value ?? ""]).map((one) =>
    typeof one === "string" && typed(one) !== one ? `"${one}"` : String(one),
  );
  return { property, op, text: texts.join(", ") };
}
