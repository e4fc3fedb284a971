/** The form of all kinds of queries: which parts of the draft each of them has. */
import type { JSX } from "preact";
import { t } from "../words";
import { Amount, Choice } from "../parts/fields";
import { UNIT_NAMES } from "../parts/spans";
import { Suggest } from "../parts/suggest";
import type { QueryName } from "./draft";
import { EventBox, EventField, Filters, type Part, Range, Series, Steps } from "./fields";
import { Rules } from "./rules";

const INTERVALS = ["minute", "hour", "day", "week", "month"] as const;
const PERIODS = ["day", "week", "month"] as const;

const FIRST: Record<QueryName, (part: Part) => JSX.Element> = {
  trends: Series,
  funnel: Steps,
  cohort: ({ draft, onChange }) => (
    <>
      <EventBox
        title={t("begins_with")}
        value={draft.start}
        onChange={(part) => onChange({ start: { ...draft.start, ...part } })}
      />
      <EventBox
        title={t("returns_with")}
        value={draft.back}
        onChange={(part) => onChange({ back: { ...draft.back, ...part } })}
      />
    </>
  ),
  lifecycle: OneEvent,
  stickiness: OneEvent,
  paths: ({ draft, onChange }) => (
    <div class="row">
      <Choice
        wide
        label={t("around")}
        prefix="around"
        options={["any", "start", "through", "end"]}
        value={draft.around}
        onValue={(around) => onChange({ around })}
      />
      {draft.around !== "any" && (
        <EventField
          label={t("event")}
          optional={false}
          value={draft.anchor}
          onValue={(anchor) => onChange({ anchor })}
        />
      )}
    </div>
  ),
  sessions: () => <></>,
  segment: Rules,
  events: ({ draft, onChange }) => (
    <div class="row">
      <EventField label={t("event")} value={draft.event} onValue={(event) => onChange({ event })} />
      <label>
        {t("person")}
        <input
          value={draft.person}
          placeholder={t("any_person")}
          maxLength={200}
          onInput={(event) => onChange({ person: event.currentTarget.value })}
        />
      </label>
    </div>
  ),
};

function OneEvent({ draft, onChange }: Part): JSX.Element {
  return <EventField label={t("event")} value={draft.event} onValue={(event) => onChange({ event })} />;
}

export function QueryForm(part: Part & { name: QueryName }): JSX.Element {
  return (
    <form class="form" onSubmit={(event) => event.preventDefault()}>
      <QueryFields {...part} />
    </form>
  );
}

/** The fields of a query, for a form that saves it, too. */
export function QueryFields({ name, draft, onChange }: Part & { name: QueryName }): JSX.Element {
  const First = FIRST[name];
  const within = (...names: QueryName[]) => names.includes(name);
  return (
    <>
      <First draft={draft} onChange={onChange} />
      <div class="row">
        {!within("segment") && <Range draft={draft} onChange={onChange} />}
        {within("trends", "sessions") && (
          <Choice
            label={t("interval")}
            prefix="interval"
            options={INTERVALS}
            value={draft.interval}
            onValue={(interval) => onChange({ interval })}
          />
        )}
        {within("lifecycle", "stickiness") && (
          <Choice
            label={t("interval")}
            prefix="interval"
            options={PERIODS}
            value={PERIODS.find((one) => one === draft.interval) ?? "day"}
            onValue={(interval) => onChange({ interval })}
          />
        )}
        {within("cohort") && (
          <>
            <Choice
              label={t("interval")}
              prefix="interval"
              options={PERIODS}
              value={draft.period}
              onValue={(period) => onChange({ period })}
            />
            <Amount
              label={t("periods")}
              max={366}
              value={draft.periods}
              onValue={(periods) => onChange({ periods })}
            />
          </>
        )}
        {within("funnel") && (
          <>
            <Amount step="any" label={t("window")} value={draft.window} onValue={(window) => onChange({ window })} />
            <Choice
              label={t("unit")}
              prefix="unit"
              options={UNIT_NAMES}
              value={draft.unit}
              onValue={(unit) => onChange({ unit })}
            />
            <Choice
              wide
              label={t("order")}
              prefix="order"
              options={["ordered", "strict", "any"]}
              value={draft.order}
              onValue={(order) => onChange({ order })}
            />
          </>
        )}
        {within("paths") && (
          <Amount label={t("hops")} max={10} value={draft.hops} onValue={(hops) => onChange({ hops })} />
        )}
        {within("paths", "sessions") && (
          <Amount
            label={t("gap_minutes")}
            max={1_440}
            value={draft.gap}
            onValue={(gap) => onChange({ gap })}
          />
        )}
      </div>
      {within("trends", "funnel") && <Breakdown name={name} draft={draft} onChange={onChange} />}
      <Filters draft={draft} onChange={onChange} />
    </>
  );
}

function Breakdown({ name, draft, onChange }: Part & { name: QueryName }): JSX.Element {
  const first = name === "funnel" ? draft.steps[0] : draft.series.length === 1 ? draft.series[0] : undefined;
  return (
    <div class="row">
      <Choice
        wide
        label={t("breakdown_of")}
        prefix="broken_by"
        options={["property", "person"]}
        value={draft.byOf === "person" ? "person" : "property"}
        onValue={(byOf) => onChange({ byOf })}
      />
      <label>
        {t("breakdown")}
        <Suggest
          label={t("breakdown")}
          placeholder={t("no_breakdown")}
          wanted={{
            of: draft.byOf === "person" ? "person_property" : "property",
            event: first?.event,
          }}
          value={draft.by}
          onValue={(by) => onChange({ by })}
        />
      </label>
      {name === "trends" && (
        <label class="check">
          <input
            type="checkbox"
            checked={draft.compare}
            onChange={(event) => onChange({ compare: event.currentTarget.checked })}
          />
          {t("compare")}
        </label>
      )}
    </div>
  );
}
