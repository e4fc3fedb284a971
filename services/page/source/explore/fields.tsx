/** The parts of an explorer's form. Each shows one part of the draft, and hands back what is changed. */
import type { ComponentChildren, JSX } from "preact";
import { definitions, titleOf } from "../state/definitions";
import { t } from "../words";
import type { Word } from "../words";
import { Comparison, Conditions } from "../parts/event-fields";
import { Icon } from "../parts/icons";
import { Suggest } from "../parts/suggest";
import { DAYS, type Draft, type EventDraft, type FilterDraft, type SeriesDraft, type StepDraft, blank } from "./draft";
import { MEASURES_OF_PROPERTY } from "./requests";

export interface Part {
  draft: Draft;
  onChange: (part: Partial<Draft>) => void;
}

/** A choice whose options are words: `<prefix>_<option>`. */
export function Choice<O extends string>({
  label,
  prefix,
  options,
  value,
  onValue,
  hidden = false,
  wide = false,
}: {
  label: string;
  prefix: string;
  options: readonly O[];
  value: O;
  onValue: (value: O) => void;
  /** Whether the label is for screen readers alone. */
  hidden?: boolean;
  /** Whether its options are long. */
  wide?: boolean;
}): JSX.Element {
  const select = (
    <select
      aria-label={label}
      value={value}
      onChange={(event) => onValue(event.currentTarget.value as O)}
    >
      {options.map((one) => (
        <option key={one} value={one}>
          {t(`${prefix}_${one}` as Word)}
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

export function Amount({
  label,
  value,
  onValue,
  max,
}: {
  label: string;
  value: string;
  onValue: (value: string) => void;
  max?: number;
}): JSX.Element {
  return (
    <label class="narrow">
      {label}
      <input
        type="number"
        min="1"
        max={max}
        value={value}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    </label>
  );
}

export function EventField({
  label,
  value,
  onValue,
  optional = true,
}: {
  label: string;
  value: string;
  onValue: (value: string) => void;
  optional?: boolean;
}): JSX.Element {
  return (
    <label>
      {label}
      <Suggest
        label={label}
        placeholder={t(optional ? "any_event" : "event_name")}
        wanted={{ of: "event" }}
        value={value}
        onValue={onValue}
      />
    </label>
  );
}

/** An event and its conditions. */
export function EventBox({
  title,
  value,
  onChange,
  children,
}: {
  title: string;
  value: EventDraft;
  onChange: (part: Partial<EventDraft>) => void;
  children?: ComponentChildren;
}): JSX.Element {
  return (
    <div class="step">
      <EventField label={title} value={value.event} onValue={(event) => onChange({ event })} />
      {children}
      <Conditions event={value.event} rows={value.rows} onChange={(rows) => onChange({ rows })} />
    </div>
  );
}

export function replaced<T>(list: T[], at: number, part: Partial<T>): T[] {
  return list.map((one, place) => (place === at ? { ...one, ...part } : one));
}

export function Without({ label, onClick, disabled = false }: { label: string; onClick: () => void; disabled?: boolean }): JSX.Element {
  return (
    <button type="button" class="quiet" aria-label={label} disabled={disabled} onClick={onClick}>
      <Icon name="close" />
    </button>
  );
}

export function More({ label, onClick, disabled = false }: { label: string; onClick: () => void; disabled?: boolean }): JSX.Element {
  return (
    <button type="button" class="quiet add" disabled={disabled} onClick={onClick}>
      <Icon name="plus" />
      {label}
    </button>
  );
}

export function Series({ draft, onChange }: Part): JSX.Element {
  const change = (at: number, part: Partial<SeriesDraft>) =>
    onChange({ series: replaced(draft.series, at, part) });
  return (
    <fieldset>
      <legend>{t("series")}</legend>
      {draft.series.map((one, at) => (
        <div class="step" key={at}>
          <div class="step-line">
            <span class="step-number">{letter(at)}</span>
            <Suggest
              label={t("event_of_series", { n: letter(at) })}
              placeholder={t("any_event")}
              wanted={{ of: "event" }}
              value={one.event}
              onValue={(event) => change(at, { event })}
            />
            <Without
              label={t("remove_series", { n: letter(at) })}
              disabled={draft.series.length === 1}
              onClick={() => onChange({ series: draft.series.filter((_, place) => place !== at) })}
            />
          </div>
          <div class="step-line indented">
            <Choice
              hidden
              label={t("measure_of_series", { n: letter(at) })}
              prefix="trend"
              options={["events", "persons", "events_per_person", "sum", "average", "minimum", "maximum", "percentile"]}
              value={one.measure}
              onValue={(measure) => change(at, { measure })}
            />
            {MEASURES_OF_PROPERTY.has(one.measure) && (
              <Suggest
                label={t("property_of_series", { n: letter(at) })}
                placeholder={t("property")}
                wanted={{ of: "property", event: one.event }}
                value={one.property}
                onValue={(property) => change(at, { property })}
              />
            )}
            {one.measure === "percentile" && (
              <input
                type="number"
                class="tight"
                aria-label={t("percentile")}
                min="0"
                max="100"
                step="any"
                value={one.percentile}
                onInput={(event) => change(at, { percentile: event.currentTarget.value })}
              />
            )}
          </div>
          <Conditions event={one.event} rows={one.rows} onChange={(rows) => change(at, { rows })} />
        </div>
      ))}
      <More
        label={t("add_series")}
        disabled={draft.series.length >= 6}
        onClick={() => onChange({ series: [...draft.series, blank.series()] })}
      />
      {(draft.series.length > 1 || draft.formula) && (
        <label>
          {t("formula")}
          <input
            value={draft.formula}
            placeholder="A / B"
            maxLength={200}
            onInput={(event) => onChange({ formula: event.currentTarget.value })}
          />
        </label>
      )}
    </fieldset>
  );
}

export function letter(at: number): string {
  return String.fromCharCode(65 + at);
}

export function Steps({ draft, onChange }: Part): JSX.Element {
  const change = (at: number, part: Partial<StepDraft>) =>
    onChange({ steps: replaced(draft.steps, at, part) });
  return (
    <fieldset>
      <legend>{t("steps")}</legend>
      {draft.steps.map((one, at) => (
        <div class="step" key={at}>
          <div class="step-line">
            <span class="step-number">{at + 1}</span>
            <Suggest
              label={t("event_of_step", { n: at + 1 })}
              placeholder={t("event_name")}
              wanted={{ of: "event" }}
              value={one.event}
              onValue={(event) => change(at, { event })}
            />
            <Without
              label={t("remove_step", { n: at + 1 })}
              disabled={draft.steps.length <= 2}
              onClick={() => onChange({ steps: draft.steps.filter((_, place) => place !== at) })}
            />
          </div>
          <Conditions event={one.event} rows={one.rows} onChange={(rows) => change(at, { rows })} />
        </div>
      ))}
      <More
        label={t("add_step")}
        disabled={draft.steps.length >= 32}
        onClick={() => onChange({ steps: [...draft.steps, blank.step()] })}
      />
    </fieldset>
  );
}

export function Range({ draft, onChange }: Part): JSX.Element {
  return (
    <>
      <Choice
        label={t("range")}
        prefix="range"
        options={DAYS}
        value={draft.days as (typeof DAYS)[number]}
        onValue={(days) => onChange({ days })}
      />
      {draft.days === "custom" && (
        <>
          <DateField label={t("from")} value={draft.from} onValue={(from) => onChange({ from })} />
          <DateField label={t("to")} value={draft.to} onValue={(to) => onChange({ to })} />
        </>
      )}
    </>
  );
}

function DateField({ label, value, onValue }: { label: string; value: string; onValue: (value: string) => void }): JSX.Element {
  return (
    <label class="narrow">
      {label}
      <input type="date" value={value} onInput={(event) => onValue(event.currentTarget.value)} />
    </label>
  );
}

/** Filters of all events, on properties of theirs, of their persons, or on segments. */
export function Filters({ draft, onChange }: Part): JSX.Element {
  const change = (at: number, part: Partial<FilterDraft>) =>
    onChange({ filters: replaced(draft.filters, at, part) });
  return (
    <fieldset>
      <legend>{t("filters")}</legend>
      {draft.filters.map((one, at) => (
        <div class="step" key={at}>
          <div class="step-line">
            <Choice
              hidden
              label={t("filter_of")}
              prefix="filter"
              options={["event", "person", "segment"]}
              value={one.of}
              onValue={(of) => change(at, { ...blank.filter(), of })}
            />
            <span class="grow" />
            <Without
              label={t("remove_filter")}
              onClick={() => onChange({ filters: draft.filters.filter((_, place) => place !== at) })}
            />
          </div>
          {one.of === "segment" ? (
            <SegmentField value={one.text} onValue={(text) => change(at, { text })} />
          ) : (
            <div class="condition flat">
              <Comparison row={one} person={one.of === "person"} onChange={(part) => change(at, part)} />
            </div>
          )}
        </div>
      ))}
      <More label={t("add_filter")} onClick={() => onChange({ filters: [...draft.filters, blank.filter()] })} />
    </fieldset>
  );
}

export function SegmentField({ value, onValue }: { value: string; onValue: (value: string) => void }): JSX.Element {
  return (
    <select aria-label={t("segment")} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
      <option value="">{t("choose_segment")}</option>
      {(definitions.value?.segments ?? []).map((one) => (
        <option key={one.id} value={one.id}>
          {titleOf(one)}
        </option>
      ))}
    </select>
  );
}
