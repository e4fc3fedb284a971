/** A funnel as rows: how many persons reached each step, and who was lost before it. */
import type { JSX } from "preact";
import type { Schemas } from "../state/api";
import { count, duration, share } from "../state/format";
import { t } from "../words";

type Step = Schemas["StepResponse"];

export interface Timed {
  median_ms: number | null;
}

export function Bars({
  steps,
  times,
  onPersons,
  compact = false,
}: {
  steps: Step[];
  times?: (Timed | undefined)[];
  onPersons?: (step: number) => void;
  compact?: boolean;
}): JSX.Element {
  return (
    <ol class={compact ? "bars compact" : "bars"}>
      {steps.map((step, place) => (
        <li key={step.step}>
          <div class="bar-head">
            <span class="bar-number">{step.step}</span>
            <span class="bar-name" title={step.event}>
              {step.event}
            </span>
            <span class="bar-share">{share(step.conversion)}</span>
            {onPersons ? (
              <button
                type="button"
                class="bar-count link"
                aria-label={t("show_persons_of", { step: step.event, persons: count(step.reached) })}
                onClick={() => onPersons(step.step)}
              >
                {count(step.reached)}
              </button>
            ) : (
              <span class="bar-count">{count(step.reached)}</span>
            )}
          </div>
          <div class="bar-track" aria-hidden="true">
            <i style={{ width: `${100 * (steps[place - 1]?.conversion ?? 1)}%` }} class="bar-lost" />
            <i style={{ width: `${100 * step.conversion}%` }} class="bar-fill" />
          </div>
          {!compact && place > 0 && (
            <p class="bar-foot">
              <span>{t("from_previous", { share: share(step.conversion_from_previous) })}</span>
              <span>
                {t("lost_here", { persons: count((steps[place - 1]?.reached ?? 0) - step.reached) })}
              </span>
              {times?.[place] && (
                <span>{t("median_time", { time: duration(times[place].median_ms) })}</span>
              )}
            </p>
          )}
        </li>
      ))}
    </ol>
  );
}
