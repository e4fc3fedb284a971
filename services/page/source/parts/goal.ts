import type { Schemas } from "../state/api";
import { duration } from "../state/format";
import { t } from "../words";

type Prediction = Schemas["PredictionResponse"];

/** What a prediction predicts, in words. */
export function goalOf(one: Prediction): string {
  return t(`predicts_${one.target}`, {
    goal: one.goal.event ?? t("any_event"),
    time: duration(one.within_s * 1_000),
    value: one.value ?? "",
  });
}
