/** A funnel by the values of a property: each figure opens the persons behind it. */
import type { JSX } from "preact";
import { count, share, shown } from "../state/format";
import { t } from "../words";
import { AsTable } from "./table";

export interface FunnelValue {
  value: boolean | number | string | null;
  other: boolean;
  reached: number[];
}

export function FunnelValues({
  caption,
  steps,
  values,
  onPersons,
}: {
  caption: string;
  steps: string[];
  values: FunnelValue[];
  onPersons: (bar: { step: number; event: string; of: FunnelValue }) => void;
}): JSX.Element {
  const nameOf = (one: FunnelValue) => (one.other ? t("others") : shown(one.value));
  const conversion = (one: FunnelValue) => (one.reached[0] ? (one.reached.at(-1) ?? 0) / one.reached[0] : null);
  return (
    <section class="values" aria-label={caption}>
      <h3 class="sub">{caption}</h3>
      <div class="scroll" tabIndex={0} role="region" aria-label={`${caption}: ${t("persons")}`}>
        <table class="figures">
          <caption class="sr">{caption}</caption>
          <thead>
            <tr>
              <th scope="col">{t("value")}</th>
              {steps.map((event, at) => (
                <th key={at} scope="col" class="number">
                  {event}
                </th>
              ))}
              <th scope="col" class="number">
                {t("conversion")}
              </th>
            </tr>
          </thead>
          <tbody>
            {values.map((one) => (
              <tr key={one.other ? "others" : JSON.stringify(one.value)}>
                <th scope="row">
                  {nameOf(one)}
                  <span class="value-track" aria-hidden="true">
                    <i style={{ width: `${100 * (conversion(one) ?? 0)}%` }} />
                  </span>
                </th>
                {steps.map((event, at) => (
                  <td key={at} class="number">
                    <button
                      type="button"
                      class="link"
                      aria-label={`${nameOf(one)}, ${t("show_persons_of", { step: event, persons: count(one.reached[at]) })}`}
                      onClick={() => onPersons({ step: at + 1, event, of: one })}
                    >
                      {count(one.reached[at])}
                    </button>
                  </td>
                ))}
                <td class="number">{share(conversion(one))}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <AsTable
        caption={caption}
        columns={[
          { title: t("value") },
          ...steps.map((event) => ({ title: event, numeric: true, show: count })),
          { title: t("conversion"), numeric: true, show: share },
        ]}
        rows={values.map((one) => [nameOf(one), ...one.reached, conversion(one)])}
      />
    </section>
  );
}
