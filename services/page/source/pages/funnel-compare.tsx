/** A funnel before and after a moment, where both groups have had the same time to convert. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get } from "../state/api";
import { useAnnotations } from "../state/annotations";
import { count, decimal, duration, moment, share } from "../state/format";
import { project } from "../state/session";
import { t } from "../words";
import { Select, TextField } from "../parts/fields";
import { Failed, Loading, Unsettled } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { AsTable, type Column } from "../parts/table";

type Comparison = Schemas["ComparisonResponse"];
const OTHER = "+other";
// Below this, a difference is called unlikely to be chance.
const UNLIKELY = 0.05;

export function FunnelCompare({ id }: { id: string }): JSX.Element {
  const marked = [...useAnnotations()].reverse();
  const [chosen, setChosen] = useState("");
  const [local, setLocal] = useState("");
  const at =
    chosen === OTHER ? (local ? new Date(local).toISOString() : "") : (marked.find((one) => one.id === chosen)?.at ?? "");
  const now = Date.now();
  const past = marked.filter((one) => Date.parse(one.at) < now);
  return (
    <section class="card" aria-label={t("compare_funnel")}>
      <header>
        <h2>{t("compare_funnel")}</h2>
      </header>
      <div class="row">
        <Select
          wide
          label={t("annotation")}
          options={[
            ["", t("compare_choose")],
            ...past.map((one) => [one.id, `${one.text.slice(0, 80)} · ${moment(one.at)}`] as const),
            [OTHER, t("compare_another")],
          ]}
          value={chosen}
          onValue={setChosen}
        />
        {chosen === OTHER && (
          <TextField type="datetime-local" label={t("compare_at")} value={local} onValue={setLocal} />
        )}
      </div>
      {past.length === 0 && <p class="note small">{t("compare_none")}</p>}
      {at && <Compared key={at} id={id} at={at} />}
    </section>
  );
}

function Compared({ id, at }: { id: string; at: string }): JSX.Element {
  const { value, error } = useAsked(`${project.value}/${id}/compare/${at}`, () =>
    get("/api/projects/{project}/funnels/{id}/compare", { project: project.value, id }, { at }),
  );
  if (error) return <Failed message={error} />;
  if (!value) return <Loading />;
  const { before, after } = value;
  const [was, is] = [before.conversion.at(-1), after.conversion.at(-1)];
  return (
    <>
      <p class="compared" role="status">
        <strong>{t("compare_sentence", { before: share(was), after: share(is) })}</strong> {verdict(value)}
      </p>
      <p class="note">
        {t("compare_note", { age: duration(1_000 * value.age_s), span: duration(1_000 * value.span_s) })}
      </p>
      <ol class="bars paired">
        {value.steps.map((event, step) => (
          <li key={step}>
            <div class="bar-head">
              <span class="bar-number">{step + 1}</span>
              <span class="bar-name" title={event}>
                {event}
              </span>
            </div>
            <Pair title={t("compare_before_time")} reached={before.reached[step]} part={before.conversion[step]} faint />
            <Pair title={t("compare_after")} reached={after.reached[step]} part={after.conversion[step]} />
          </li>
        ))}
      </ol>
      <Unsettled any={value.incomplete} />
      <AsTable caption={t("compare_funnel")} columns={columns()} rows={rows(value)} />
    </>
  );
}

function Pair({
  title,
  reached,
  part,
  faint = false,
}: {
  title: string;
  reached: number | undefined;
  part: number | null | undefined;
  faint?: boolean;
}): JSX.Element {
  return (
    <div class={faint ? "pair faint" : "pair"}>
      <span class="note">{title}</span>
      <div class="bar-track" aria-hidden="true">
        <i style={{ width: `${100 * (part ?? 0)}%` }} class="bar-fill" />
      </div>
      <span class="bar-share">{share(part)}</span>
      <span class="bar-count">{count(reached)}</span>
    </div>
  );
}

function verdict({ p_value: p }: Comparison): string {
  if (p === null) return t("compare_no_p");
  return t(p < UNLIKELY ? "compare_real" : "compare_chance", { p: decimal(p, 4) });
}

function columns(): Column[] {
  const [was, is] = [t("compare_before_time"), t("compare_after")];
  const [persons, conversion] = [t("persons"), t("conversion")];
  return [
    { title: t("step") },
    { title: t("event") },
    { title: `${was}: ${persons}`, numeric: true, show: count },
    { title: `${was}: ${conversion}`, numeric: true, show: share },
    { title: `${is}: ${persons}`, numeric: true, show: count },
    { title: `${is}: ${conversion}`, numeric: true, show: share },
    { title: t("compare_change"), numeric: true, show: (one: number | null) => decimal(one === null ? null : 100 * one, 1) },
  ];
}

function rows({ steps, before, after, change }: Comparison) {
  return steps.map((event, at) => [
    at + 1,
    event,
    before.reached[at],
    before.conversion[at],
    after.reached[at],
    after.conversion[at],
    change[at],
  ]);
}
