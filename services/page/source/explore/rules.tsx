/** The rule of a segment: what persons did, what they are, and which segments they are in. */
import type { JSX } from "preact";
import { t } from "../words";
import { Conditions } from "../parts/event-fields";
import { Amount, Choice, More, Without, replaced } from "../parts/fields";
import { Suggest } from "../parts/suggest";
import { type RuleDraft, blank } from "./draft";
import { type Part, SegmentField } from "./fields";

export function Rules({ draft, onChange }: Part): JSX.Element {
  const change = (at: number, part: Partial<RuleDraft>) =>
    onChange({ rules: replaced(draft.rules, at, part) });
  return (
    <fieldset>
      <legend>{t("rule")}</legend>
      {draft.rules.length > 1 && (
        <Choice
          hidden
          label={t("joined")}
          prefix="holds"
          options={["and", "or"]}
          value={draft.joined}
          onValue={(joined) => onChange({ joined })}
        />
      )}
      {draft.rules.map((one, at) => (
        <div class="step" key={at}>
          <div class="step-line">
            <Choice
              hidden
              label={t("rule_is", { n: at + 1 })}
              prefix="rule"
              options={["performed", "not_performed", "person", "segment"]}
              value={one.is}
              onValue={(is) => change(at, { is, rows: [] })}
            />
            {(one.is === "performed" || one.is === "not_performed") && (
              <Suggest
                label={t("event_of_rule", { n: at + 1 })}
                placeholder={t("event_name")}
                wanted={{ of: "event" }}
                value={one.event}
                onValue={(event) => change(at, { event })}
              />
            )}
            {one.is === "segment" && (
              <SegmentField value={one.segment} onValue={(segment) => change(at, { segment })} />
            )}
            <Without
              label={t("remove_rule", { n: at + 1 })}
              disabled={draft.rules.length === 1}
              onClick={() => onChange({ rules: draft.rules.filter((_, place) => place !== at) })}
            />
          </div>
          {one.is !== "segment" && (
            <Conditions
              event={one.event}
              person={one.is === "person"}
              rows={one.rows}
              onChange={(rows) => change(at, { rows })}
            />
          )}
          {(one.is === "performed" || one.is === "not_performed") && (
            <div class="row">
              {one.is === "performed" && (
                <Amount
                  label={t("at_least_times")}
                  value={one.times}
                  onValue={(times) => change(at, { times })}
                />
              )}
              <Amount
                label={t("in_last_days")}
                max={366}
                value={one.days}
                onValue={(days) => change(at, { days })}
              />
            </div>
          )}
        </div>
      ))}
      <More
        label={t("add_rule")}
        disabled={draft.rules.length >= 10}
        onClick={() => onChange({ rules: [...draft.rules, blank.rule()] })}
      />
    </fieldset>
  );
}
