/** An alert in words: what it measures, when it fires, and what it does now. */
import type { JSX } from "preact";
import type { Schemas } from "../state/api";
import { definitions, titleOf } from "../state/definitions";
import { decimal, duration, share } from "../state/format";
import { t } from "../words";
import type { Word } from "../words";
import { type Alert, draftOf, isShare } from "./draft";

type Lists = "funnels" | "metrics" | "segments" | "predictions";

/** What an alert measures. */
export function measuredBy(alert: Alert): string {
  const { measure } = alert;
  const name = (list: Lists, id: string) =>
    titleOf((definitions.value?.[list] as { id: string; name: string }[] | undefined)?.find((one) => one.id === id) ?? { id });
  const time = (seconds: number) => duration(1_000 * seconds);
  switch (measure.type) {
    case "query": {
      const { series, query } = draftOf(alert);
      const what = query
        ? t("alert_a_query")
        : `${t(`trend_${series.measure}`)} ${series.property && `${series.property}, `}${series.event || t("any_event")}`;
      return t("alert_of_query", { what, time: time(measure.window_s) });
    }
    case "metric":
      return t("alert_of_metric", { name: name("metrics", measure.metric) });
    case "funnel":
      return t("alert_of_funnel", {
        name: name("funnels", measure.funnel),
        time: time(measure.window_s),
        age: time(measure.age_s),
      });
    case "segment":
      return t(measure.figure === "entered" ? "alert_of_entered" : "alert_of_size", { name: name("segments", measure.segment) });
    case "prediction":
      return t("alert_of_drifts", { name: name("predictions", measure.prediction) });
  }
}

/** When an alert fires, in a sentence. */
export function alertIs(alert: Alert): string {
  const what = measuredBy(alert);
  const parts = [
    alert.compare === "none" ? what : t(`alert_change_${alert.compare}`, { what }),
    `${t(`op_${alert.condition.op}`)} ${figureOf(alert, alert.condition.value)}`,
  ];
  const held = alert.pending_s > 0 ? t("alert_held", { time: duration(1_000 * alert.pending_s) }) : "";
  return [parts.join(" "), held].filter(Boolean).join(", ");
}

/** A figure of an alert, as a share where it is one. */
export function figureOf(alert: Alert | undefined, value: number | null): string {
  if (!alert) return decimal(value);
  return isShare({ kind: alert.measure.type, relative: alert.relative }) ? share(value) : decimal(value);
}

export type Doing = "ok" | "pending" | "firing" | "waiting" | "inactive" | "no_data" | "error";

/** What an alert does, in one word: that it cannot be measured, or has no data, unless it fires. */
export function doing(status: Schemas["AlertStatusResponse"]): Doing {
  const { state, data } = status;
  if (state === "inactive" || state === "waiting" || state === "firing") return state;
  if (data === "error" || data === "no_data") return data;
  return state as "ok" | "pending";
}

const TONES: Record<Doing, string> = {
  ok: "live",
  pending: "behind",
  firing: "failed",
  waiting: "",
  inactive: "",
  no_data: "behind",
  error: "failed",
};

export function AlertBadge({ status }: { status: Schemas["AlertStatusResponse"] | undefined }): JSX.Element {
  if (!status) return <span class="note">…</span>;
  const said = doing(status);
  return <span class={`badge ${TONES[said]}`}>{t(`alert_${said}` as Word)}</span>;
}
