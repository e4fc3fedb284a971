import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Schemas } from "../../state/api";
import { count, day, share } from "../../state/format";
import { t } from "../../words";
import { Bars } from "../../parts/bars";
import { Chart } from "../../parts/chart";
import { Incomplete } from "../../parts/notes";
import { type Bar, FunnelPersons } from "../funnel-persons";
import type { Requests } from "../requests";
import { FunnelValues } from "../../parts/funnel-values";
import { AsTable } from "../../parts/table";

export function Funnel({
  answer,
  request,
}: {
  answer: Schemas["FunnelQueryResponse"];
  request: Requests["funnel"];
}): JSX.Element {
  const [bar, setBar] = useState<Bar>();
  const { steps, reached, days } = answer;
  const by = request.breakdown && Object.values(request.breakdown)[0];
  const bars = steps.map((event, at) => ({
    step: at + 1,
    event,
    reached: reached[at] ?? 0,
    conversion: ratio(reached[at], reached[0]),
    conversion_from_previous: ratio(reached[at], reached[at - 1] ?? reached[at]),
    entries: null,
  }));
  const lines = useMemo(
    () => [
      {
        title: t("conversion_percent"),
        values: days.map((one) => (one.reached[0] ? 100 * ratio(one.reached.at(-1), one.reached[0]) : null)),
      },
    ],
    [answer],
  );
  const times = useMemo(() => days.map((one) => Date.parse(`${one.day}T12:00:00Z`) / 1_000), [answer]);
  const incomplete = useMemo(() => days.map((one) => one.incomplete), [answer]);
  return (
    <>
      <Bars
        steps={bars}
        times={answer.median_ms.map((median_ms) => ({ median_ms }))}
        onPersons={(step) => setBar({ step, event: steps[step - 1] ?? "" })}
      />
      <AsTable
        caption={t("query_funnel")}
        columns={[
          { title: t("step"), numeric: false },
          { title: t("event") },
          { title: t("persons"), numeric: true, show: count },
          { title: t("conversion"), numeric: true, show: share },
        ]}
        rows={bars.map((one) => [one.step, one.event, one.reached, one.conversion])}
      />
      {answer.breakdown.length > 0 && (
        <FunnelValues
          caption={by ? t("by_property", { property: by }) : t("by_value")}
          steps={steps}
          values={answer.breakdown}
          onPersons={setBar}
        />
      )}
      {days.length > 1 && (
        <>
          <h3 class="sub">{t("conversion_by_day")}</h3>
          <Chart
            label={t("conversion_by_day")}
            times={times}
            lines={lines}
            incomplete={incomplete}
            timeZone="UTC"
            height={170}
          />
          <Incomplete any={incomplete.some(Boolean)} />
          <AsTable
            caption={t("conversion_by_day")}
            times={days.map((one) => Date.parse(`${one.day}T00:00:00Z`) / 1_000)}
            columns={[
              { title: t("day"), show: day },
              ...steps.map((event) => ({ title: event, numeric: true, show: count })),
              { title: t("incomplete") },
            ]}
            rows={days.map((one) => [one.day, ...one.reached, one.incomplete ? t("incomplete") : ""])}
          />
        </>
      )}
      {bar && (
        <FunnelPersons
          request={request}
          bar={bar}
          positions={answer.positions}
          onClose={() => setBar(undefined)}
        />
      )}
    </>
  );
}

function ratio(value: number | undefined, of: number | undefined): number {
  return of ? (value ?? 0) / of : 0;
}
