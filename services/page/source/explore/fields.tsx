/** The parts of an explorer's form. Each shows one part of the draft, and hands back what is changed. */
import type { ComponentChildren, JSX } from "preact";
import { definitions, titleOf } from "../state/definitions";
import { t } from "../words";
import { Comparison, Conditions } from "../parts/event-fields";
import { Amount, Check, Choice, More, Select, TextField, Without, replaced } from "../parts/fields";
import { Icon } from "../parts/icons";
import { Suggest } from "../parts/suggest";
import { DAYS, type Draft, type EventDraft, type FilterDraft, type SeriesDraft, type StepDraft, blank } from "./draft";
import { MEASURES_OF_PROPERTY } from "./requests";

export interface Part {
  draft: Draft;
  onChange: (part: Partial<Draft>) => void;
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

const MEASURES = ["events", "persons", "events_per_person", "sum", "average", "minimum", "maximum", "percentile"] as const;

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
              options={MEASURES}
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
  const { steps } = draft;
  const change = (at: number, part: Partial<StepDraft>) => onChange({ steps: replaced(steps, at, part) });
  const move = (at: number, by: -1 | 1) => {
    const next = [...steps];
    next.splice(at + by, 0, ...next.splice(at, 1));
    onChange({ steps: next });
  };
  return (
    <fieldset>
      <legend>{t("steps")}</legend>
      {steps.map((one, at) => (
        <div class="step" key={at}>
          <div class="step-line">
            <span class="step-number">{at + 1}</span>
            <Suggest
              label={t("event_of_step", { n: at + 1 })}
              placeholder={t("event_name")}
              required
              wanted={{ of: "event" }}
              value={one.event}
              onValue={(event) => change(at, { event })}
            />
            <Move label={t("move_up", { n: at + 1 })} icon="up" disabled={at === 0} onClick={() => move(at, -1)} />
            <Move
              label={t("move_down", { n: at + 1 })}
              icon="down"
              disabled={at === steps.length - 1}
              onClick={() => move(at, 1)}
            />
            <Without
              label={t("remove_step", { n: at + 1 })}
              disabled={steps.length <= 2}
              onClick={() => onChange({ steps: steps.filter((_, place) => place !== at) })}
            />
          </div>
          <Conditions event={one.event} rows={one.rows} onChange={(rows) => change(at, { rows })} />
          {at > 0 && draft.order !== "any" && (
            <Check label={t("optional_step")} value={one.optional} onValue={(optional) => change(at, { optional })} />
          )}
        </div>
      ))}
      <More
        label={t("add_step")}
        disabled={steps.length >= 32}
        onClick={() => onChange({ steps: [...steps, blank.step()] })}
      />
    </fieldset>
  );
}

function Move({
  label,
  icon,
  disabled,
  onClick,
}: {
  label: string;
  icon: "up" | "down";
  disabled: boolean;
  onClick: () => void;
}): JSX.Element {
  return (
    <button type="button" class="quiet" aria-label={label} disabled={disabled} onClick={onClick}>
      <Icon name={icon} />
    </button>
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
          <TextField type="date" label={t("from")} value={draft.from} onValue={(from) => onChange({ from })} />
          <TextField type="date" label={t("to")} value={draft.to} onValue={(to) => onChange({ to })} />
        </>
      )}
    </>
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
  const segments = definitions.value?.segments ?? [];
  return (
    <Select
      hidden
      label={t("segment")}
      options={[["", t("choose_segment")], ...segments.map((one) => [one.id, titleOf(one)] as const)]}
      value={value}
      onValue={onValue}
    />
  );
}

/** One series of a trend by itself. */
export function OneSeries({
  value,
  onChange,
}: {
  value: SeriesDraft;
  onChange: (part: Partial<SeriesDraft>) => void;
}): JSX.Element {
  const numeric = MEASURES_OF_PROPERTY.has(value.measure);
  return (
    <EventBox title={t("event")} value={value} onChange={onChange}>
      <div class="row">
        <Choice
          wide
          label={t("measure")}
          prefix="trend"
          options={MEASURES}
          value={value.measure}
          onValue={(measure) => onChange({ measure })}
        />
        {numeric && (
          <label>
            {t("property")}
            <Suggest
              label={t("measured_property")}
              required
              wanted={{ of: "property", event: value.event }}
              value={value.property}
              onValue={(property) => onChange({ property })}
            />
          </label>
        )}
        {value.measure === "percentile" && (
          <Amount
            label={t("percentile")}
            min={0}
            max={100}
            step="any"
            value={value.percentile}
            onValue={(percentile) => onChange({ percentile })}
          />
        )}
      </div>
    </EventBox>
  );
}
