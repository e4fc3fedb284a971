/** How the messages of a subscription fare: what was answered, what waits, and what is sent again. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post } from "../state/api";
import { count, moment } from "../state/format";
import { project } from "../state/session";
import { t } from "../words";
import type { Word } from "../words";
import { Copied } from "../parts/copied";
import { Dialog } from "../parts/dialog";
import { Check, TextField } from "../parts/fields";
import { SaveForm, useRun } from "../parts/form";
import { Failed, Loading } from "../parts/notes";
import { Table } from "../parts/table";
import { SpanField, secondsOf, spanOf } from "../parts/spans";

type Status = Schemas["DeliveryStatusResponse"];
const TONES: Record<string, string> = { ok: "live", failing: "behind", resting: "failed" };

export function DeliveryBadge({ status }: { status: Status | undefined }): JSX.Element {
  if (!status) return <span class="note">…</span>;
  return <span class={`badge ${TONES[status.state] ?? ""}`}>{t(`delivery_${status.state}` as Word)}</span>;
}

export function Deliveries({ id, status, onChange }: { id: string; status: Status; onChange: () => void }): JSX.Element {
  const places = { project: project.value, id };
  const [replaying, setReplaying] = useState(false);
  const [said, setSaid] = useState("");
  const { busy, error, run } = useRun();
  const test = () =>
    run(async () => {
      await post("/api/projects/{project}/subscriptions/{id}/test", places, undefined as never);
      setSaid(t("test_queued"));
      onChange();
    });
  return (
    <section class="card" aria-label={t("deliveries")}>
      <header>
        <h2>{t("deliveries")}</h2>
        <div class="actions">
          <button type="button" disabled={busy} onClick={() => void test()}>
            {t("send_test")}
          </button>
          <button type="button" onClick={() => setReplaying(true)}>
            {t("replay")}
          </button>
        </div>
      </header>
      {error && <Failed message={error} />}
      <p role="status" class="note">
        {said}
      </p>
      <dl class="numbers plain">
        {(["delivered", "waiting", "dead"] as const).map((one) => (
          <div class="figure" key={one}>
            <dt>{t(`messages_${one}`)}</dt>
            <dd class="big">{count(status[one])}</dd>
          </div>
        ))}
      </dl>
      {status.next_try && <p class="note">{t("next_try", { time: moment(status.next_try) })}</p>}
      {status.dead > 0 && <p class="note">{t("dead_note")}</p>}
      {status.recent.length ? (
        <Table
          caption={t("last_tries")}
          columns={[
            { title: t("time"), show: moment },
            { title: t("event") },
            { title: t("attempt_number"), numeric: true, show: count },
            { title: t("receiver_said") },
            { title: t("message_id") },
          ]}
          rows={status.recent.map((one) => [one.at, one.type, one.attempt, answerOf(one), one.id])}
        />
      ) : (
        <p class="note">{t("nothing_sent")}</p>
      )}
      {replaying && (
        <Replay
          id={id}
          onClose={() => setReplaying(false)}
          onDone={() => {
            setSaid(t("replay_queued"));
            setReplaying(false);
            onChange();
          }}
        />
      )}
    </section>
  );
}

function answerOf(one: Schemas["SentResponse"]): string {
  const said = [one.status || "", one.reason].filter(Boolean).join(" ");
  return one.delivered ? t("was_taken", { status: said }) : said || t("no_answer");
}

/** Send messages again: those that are dead, or all that are kept. */
function Replay({ id, onClose, onDone }: { id: string; onClose: () => void; onDone: () => void }): JSX.Element {
  const [all, setAll] = useState(false);
  const [since, setSince] = useState("");
  const [until, setUntil] = useState("");
  const instant = (local: string) => (local ? new Date(local).toISOString() : null);
  return (
    <Dialog title={t("replay")} onClose={onClose}>
      <p class="note">{t("replay_note")}</p>
      <SaveForm
        label={t("replay")}
        onSave={async () => {
          await post(
            "/api/projects/{project}/subscriptions/{id}/replay",
            { project: project.value, id },
            { all, since: instant(since), until: instant(until) },
          );
          onDone();
        }}
      >
        <Check label={t("replay_all")} value={all} onValue={setAll} />
        <div class="row">
          <TextField type="datetime-local" label={t("queued_since")} value={since} onValue={setSince} />
          <TextField type="datetime-local" label={t("queued_until")} value={until} onValue={setUntil} />
        </div>
      </SaveForm>
    </Dialog>
  );
}

/** The secret of a webhook, which is shown when it is asked for; and a new one. */
export function Secret({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const [held, setHeld] = useState<Schemas["SecretResponse"]>();
  const [rotating, setRotating] = useState(false);
  const [overlap, setOverlap] = useState(spanOf(86_400));
  const { busy, error, run } = useRun();
  const show = () => run(async () => setHeld(await get("/api/projects/{project}/subscriptions/{id}/secret", places)));
  return (
    <section class="card" aria-label={t("secret")}>
      <header>
        <h2>{t("secret")}</h2>
        <div class="actions">
          {!held && (
            <button type="button" disabled={busy} onClick={() => void show()}>
              {t("show_secret")}
            </button>
          )}
          <button type="button" aria-expanded={rotating} onClick={() => setRotating(!rotating)}>
            {t("rotate")}
          </button>
        </div>
      </header>
      <p class="note">{t("secret_note")}</p>
      {error && <Failed message={error} />}
      {busy && !held && <Loading />}
      {held && <Copied label={t("secret_now")} text={held.secret} />}
      {held?.previous && held.previous_until && (
        <>
          <Copied label={t("secret_before")} text={held.previous} />
          <p class="note">{t("secret_before_until", { time: moment(held.previous_until) })}</p>
        </>
      )}
      {rotating && (
        <SaveForm
          plain
          class="row make"
          label={t("rotate_now")}
          onSave={async () => {
            setHeld(
              await post("/api/projects/{project}/subscriptions/{id}/rotate", places, { overlap_s: secondsOf(overlap) }),
            );
            setRotating(false);
          }}
        >
          <SpanField min={0} label={t("rotate_overlap")} value={overlap} onValue={setOverlap} />
        </SaveForm>
      )}
    </section>
  );
}
