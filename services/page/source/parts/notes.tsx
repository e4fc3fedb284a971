/** What is said beside figures: states, waiting, nothing there, errors. */
import type { ComponentChildren, JSX } from "preact";
import type { Schemas } from "../state/api";
import { share } from "../state/format";
import { t } from "../words";

type State = Schemas["StatusResponse"]["state"];

export function StateBadge({ state, backfilled }: { state: State; backfilled?: number }): JSX.Element {
  const text = t(`state_${state}`);
  const part = state === "backfilling" ? ` ${share(backfilled ?? 0, 0)}` : "";
  return <span class={`badge ${state}`}>{text + part}</span>;
}

/** A bar that fills while history is read; nothing once it has been. */
export function Backfill({ state, backfilled }: { state: State; backfilled: number }): JSX.Element | null {
  if (state !== "backfilling") return null;
  return (
    <div class="backfill" role="status">
      <progress max={1} value={backfilled} aria-label={t("state_backfilling")} />
      <p>{t("backfill_note", { part: share(backfilled, 0) })}</p>
    </div>
  );
}

export function Empty({
  title,
  children,
  action,
}: {
  title: string;
  children?: ComponentChildren;
  action?: ComponentChildren;
}): JSX.Element {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children && <p>{children}</p>}
      {action}
    </div>
  );
}

export function Loading(): JSX.Element {
  return (
    <div class="loading" role="status">
      <span class="sr">{t("loading")}</span>
      <i />
      <i />
      <i />
    </div>
  );
}

export function Failed({ message }: { message: string }): JSX.Element {
  return (
    <p class="failed" role="alert">
      {message}
    </p>
  );
}

/** What it means that some figures of a chart are drawn apart. */
export function Incomplete({ any }: { any: boolean }): JSX.Element | null {
  return any ? <p class="note small">{t("incomplete_note")}</p> : null;
}

/** For figures that are not of intervals: they all may change. */
export function Unsettled({ any }: { any: boolean }): JSX.Element | null {
  return any ? <p class="note small">{t("unsettled_note")}</p> : null;
}
