import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import type { Schemas } from "../../state/api";
import { count, decimal, duration, interval, share } from "../../state/format";
import { t } from "../../words";
import { Chart } from "../../parts/chart";
import { Incomplete } from "../../parts/notes";
import { AsTable, Table } from "../../parts/table";

export function Sessions({ answer }: { answer: Schemas["SessionsResponse"] }): JSX.Element {
  const { intervals, values, total } = answer;
  const lines = useMemo(
    () => [{ title: t("sessions_of"), values: values.map((one) => one.sessions) }],
    [answer],
  );
  const times = useMemo(() => intervals.map((one) => Date.parse(one.begin) / 1_000), [answer]);
  const incomplete = useMemo(() => intervals.map((one) => one.incomplete), [answer]);
  const numbers: [string, string][] = [
    [t("sessions_of"), count(total.sessions)],
    [t("persons"), count(total.persons)],
    [t("events_a_session"), decimal(total.sessions ? total.events / total.sessions : null, 1)],
    [t("bounces"), share(total.sessions ? total.bounces / total.sessions : null)],
    [t("median_length"), duration(total.median_length_s === null ? null : 1_000 * total.median_length_s)],
  ];
  return (
    <>
      <dl class="numbers plain">
        {numbers.map(([title, value]) => (
          <div class="figure" key={title}>
            <dt title={title}>{title}</dt>
            <dd>
              <span class="big">{value}</span>
            </dd>
          </div>
        ))}
      </dl>
      <Chart
        label={t("query_sessions")}
        times={times}
        lines={lines}
        incomplete={incomplete}
        timeZone={answer.timezone}
        height={240}
        bars={times.length < 40}
      />
      <Incomplete any={incomplete.some(Boolean)} />
      <AsTable
        caption={t("query_sessions")}
        columns={[
          { title: t("from"), show: (begin: string) => interval(begin, answer.interval, answer.timezone) },
          { title: t("sessions_of"), numeric: true, show: count },
          { title: t("persons"), numeric: true, show: count },
          { title: t("events"), numeric: true, show: count },
          { title: t("bounces"), numeric: true, show: count },
          { title: t("median_length"), numeric: true, show: seconds },
        ]}
        rows={intervals.map((one, at) => [
          one.begin,
          values[at]?.sessions,
          values[at]?.persons,
          values[at]?.events,
          values[at]?.bounces,
          values[at]?.median_length_s,
        ])}
      />
      <div class="two">
        {(["entries", "exits"] as const).map((side) => (
          <section key={side}>
            <h3 class="sub">{t(`session_${side}`)}</h3>
            <Table
              caption={t(`session_${side}`)}
              columns={[{ title: t("event") }, { title: t("sessions_of"), numeric: true, show: count }]}
              rows={answer[side].map((one) => [one.other ? t("others") : one.event, one.sessions])}
            />
          </section>
        ))}
      </div>
    </>
  );
}

function seconds(value: number | null | undefined): string {
  return duration(value === null || value === undefined ? null : 1_000 * value);
}
