/** An explorer: the form of a query beside its answer, both kept in the address. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { moment } from "../state/format";
import { address, keep, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { followZone } from "../state/zone";
import { t } from "../words";
import { Dialog } from "../parts/dialog";
import { Facts } from "../parts/facts";
import { Icon } from "../parts/icons";
import { Failed, Loading } from "../parts/notes";
import { type Draft, type QueryName, kept, restored } from "./draft";
import { QueryForm } from "./form";
import { type Answers, type Preview, usePreview } from "./preview";
import { type Requests, requestOf, textOfPositions } from "./requests";
import { Lifecycle, Stickiness } from "./results/activity";
import { Cohort } from "./results/cohort";
import { Funnel } from "./results/funnel";
import { Events, SegmentMembers } from "./results/lists";
import { Paths } from "./results/paths";
import { Sessions } from "./results/sessions";
import { Trends } from "./results/trends";
import { Save, savable } from "./save";

/** `place` is the address of the explorer, after which its draft is kept. */
export function Explorer<N extends QueryName>({ name, place }: { name: N; place: [string, string] }): JSX.Element {
  const { more } = route.value;
  const [draft, setDraft] = useState<Draft>(() => restored(more));
  const written = useRef(more);
  useEffect(followZone, []);
  useEffect(() => {
    if (more === written.current) return;
    written.current = more; // the address was changed by somebody else, as by going back
    setDraft(restored(more));
  }, [more]);
  const change = (part: Partial<Draft>) => {
    const next = { ...draft, asOf: "", ...part };
    written.current = kept(next);
    setDraft(next);
    keep(address(project.value, ...place, written.current));
  };
  const request = requestOf(name, draft);
  const preview = usePreview(name, request);
  const save = savable(name, draft);
  return (
    <div class="explorer">
      <div class="stack">
        <section class="card controls" aria-label={t("question")}>
          <QueryForm name={name} draft={draft} onChange={change} />
        </section>
        {mayWrite.value && save && (
          <section class="card" aria-label={t("save_live")}>
            <header>
              <h2>{t("save_live")}</h2>
            </header>
            {"reason" in save ? <p class="note">{save.reason}</p> : <Save plan={save} />}
          </section>
        )}
      </div>
      <div class="stack">
        {draft.asOf && (
          <p class="withheld">
            {t("as_of_then")}{" "}
            <button type="button" class="link" onClick={() => change({})}>
              {t("as_of_now")}
            </button>
          </p>
        )}
        <section class="card answer" aria-label={t("answer")} aria-busy={preview.busy}>
          <Answer name={name} draft={draft} request={request} preview={preview} />
        </section>
      </div>
    </div>
  );
}

/** The answer to a query, or what is still missing to ask it. */
export function Answer<N extends QueryName>({
  name,
  draft,
  request,
  preview,
}: {
  name: N;
  draft: Draft;
  request: Requests[N] | undefined;
  preview: Preview<N>;
}): JSX.Element {
  const { answer, of, error, field, busy } = preview;
  const [opened, setOpened] = useState(false);
  return (
    <>
      <header>
        <h2>{t(`query_${name}`)}</h2>
        {answer && (
          <button type="button" class="quiet" onClick={() => setOpened(true)}>
            <Icon name="exact" />
            {t("open_figure")}
          </button>
        )}
      </header>
      {error && <Failed message={field && !error.startsWith(field) ? `${field}: ${error}` : error} />}
      {!request && <p class="note">{t(`needs_${name}` as "needs_funnel")}</p>}
      {request && !answer && !error && <Loading />}
      {answer && (
        <div class={busy ? "figures-of old" : "figures-of"}>
          <Drawn name={name} answer={answer} request={of} draft={draft} />
        </div>
      )}
      {opened && answer && (
        <Dialog title={t("exact_figure")} onClose={() => setOpened(false)}>
          <div class="stack">
            <Facts exact={answer} rows={[[t("asked_at"), moment(answer.as_of)], ...range(of)]} />
            <p class="note">{t("exact_query_note")}</p>
            <a
              class="button"
              href={address(
                project.value,
                "explore",
                name,
                kept({ ...draft, asOf: textOfPositions(answer.positions) }),
              )}
              onClick={() => setOpened(false)}
            >
              {t("exact_link")}
            </a>
          </div>
        </Dialog>
      )}
    </>
  );
}

function range(request: Requests[QueryName] | undefined): [string, string][] {
  const { from, to } = request ?? {};
  return [
    [t("from"), from ?? t("since_ever")],
    [t("to"), to ?? t("now")],
  ];
}

/** The answer as a chart or a list; its kind is that of its query. */
function Drawn({
  name,
  answer,
  request,
  draft,
}: {
  name: QueryName;
  answer: Answers[QueryName];
  request: Requests[QueryName] | undefined;
  draft: Draft;
}): JSX.Element | null {
  switch (name) {
    case "trends":
      return <Trends answer={answer as Answers["trends"]} request={request as Requests["trends"]} />;
    case "funnel":
      return <Funnel answer={answer as Answers["funnel"]} request={request as Requests["funnel"]} />;
    case "cohort":
      return (
        <Cohort
          answer={answer as Answers["cohort"]}
          request={request as Requests["cohort"]}
          period={draft.period}
        />
      );
    case "lifecycle":
      return <Lifecycle answer={answer as Answers["lifecycle"]} />;
    case "stickiness":
      return <Stickiness answer={answer as Answers["stickiness"]} />;
    case "sessions":
      return <Sessions answer={answer as Answers["sessions"]} />;
    case "paths":
      return <Paths answer={answer as Answers["paths"]} request={request as Requests["paths"]} />;
    case "segment":
      return <SegmentMembers answer={answer as Answers["segment"]} request={request as Requests["segment"]} />;
    case "events":
      return <Events answer={answer as Answers["events"]} request={request as Requests["events"]} />;
  }
}
