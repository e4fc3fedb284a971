/** The persons behind a bar of a funnel that is asked for once, by step, outcome and value. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../state/api";
import { project } from "../state/session";
import { shown } from "../state/format";
import { t } from "../words";
import { Persons } from "../parts/persons";

/** A bar: of all who entered, or of those with a value of the breakdown. */
export interface Bar {
  step: number;
  event: string;
  of?: { value: boolean | number | string | null; other: boolean };
}

export function FunnelPersons({
  request,
  bar,
  positions,
  trace,
  onClose,
}: {
  request: Schemas["FunnelQuery"];
  bar: Bar;
  /** The events that the bar is of; those of now by default. */
  positions?: Record<string, number>;
  /** The defined funnel that this is, in which each person can be followed. */
  trace?: string;
  onClose: () => void;
}): JSX.Element {
  const [outcome, setOutcome] = useState<"reached" | "dropped" | "open">("reached");
  const of = bar.of && (bar.of.other ? t("others") : shown(bar.of.value));
  const title = t(`who_${outcome}`, { step: bar.event });
  return (
    <Persons
      title={of === undefined ? title : `${title} · ${of}`}
      trace={trace}
      read={async ({ after, limit, positions: of }) => {
        const value = bar.of && (bar.of.other ? { other: true } : { value: bar.of.value });
        const found = await post(
          "/api/projects/{project}/query/funnel",
          { project: project.value },
          {
            ...request,
            as_of: positions ?? of ?? request.as_of,
            persons: { step: bar.step, outcome, after, limit, ...value },
          },
        );
        return { ...(found.persons ?? { persons: [], next: null }), positions: found.positions };
      }}
      onClose={onClose}
    >
      {bar.step > 1 && (
        <div class="tabs">
          {(["reached", "dropped", "open"] as const).map((one) => (
            <button key={one} type="button" aria-pressed={outcome === one} onClick={() => setOutcome(one)}>
              {t(one === "open" ? "still_open" : one)}
            </button>
          ))}
        </div>
      )}
    </Persons>
  );
}
