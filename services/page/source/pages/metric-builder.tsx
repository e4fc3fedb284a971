/** A metric is defined, or changed, beside what it would have measured lately. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post, put } from "../state/api";
import { definitions, readDefinitions, titleOf } from "../state/definitions";
import { address, go } from "../state/router";
import { project } from "../state/session";
import { t } from "../words";
import { rowOf } from "../parts/event-fields";
import { Check, Choice, TextField } from "../parts/fields";
import { SaveForm } from "../parts/form";
import { freeId } from "../parts/ids";
import { Failed, Loading } from "../parts/notes";
import { Head } from "../parts/shell";
import { Suggest } from "../parts/suggest";
import type { EventDraft } from "../explore/draft";
import { EventBox } from "../explore/fields";
import { usePreview } from "../explore/preview";
import { type Requests, filterOfEvent } from "../explore/requests";
import { Trends } from "../explore/results/trends";

type Metric = Schemas["MetricResponse"];
type Measure = Metric["measure"];
type Bucket = Metric["bucket_s"];

const MEASURES = ["events", "persons", "sum", "average", "minimum", "maximum", "percentiles", "top"] as const;
const BUCKETS = ["1", "10", "60", "600", "3600", "86400", "week", "month"] as const;
const BUCKETS_OF_PERSONS = ["60", "3600", "86400", "week", "month"] as const;
const PERCENTILES = [50, 90, 99];

export function MetricBuilder({ id }: { id?: string }): JSX.Element {
  const before = definitions.value?.metrics.find((one) => one.id === id);
  if (id && !definitions.value) return <Loading />;
  if (id && !before) return <Failed message={t("not_there")} />;
  return <Form before={before} />;
}

function Form({ before }: { before: Metric | undefined }): JSX.Element {
  const where = before?.filter.where ?? [];
  const rows = where.map(rowOf).filter((one) => one !== undefined);
  const [name, setName] = useState(before?.name ?? "");
  const [measure, setMeasure] = useState<Measure>(before?.measure ?? "events");
  const [property, setProperty] = useState(before?.property ?? "");
  const [filter, setFilter] = useState<EventDraft>({ event: before?.filter.event ?? "", rows });
  const [bucket, setBucket] = useState(String(before?.interval ?? before?.bucket_s ?? 60));
  const [byEvent, setByEvent] = useState(before?.by_event ?? false);
  const reads = measure !== "events" && measure !== "persons";
  const buckets: readonly string[] = measure === "persons" ? BUCKETS_OF_PERSONS : BUCKETS;
  const chosen = buckets.includes(bucket) ? bucket : "60";
  const body: Schemas["Metric"] = {
    name: name.trim(),
    description: before?.description,
    measure,
    filter: filterOfEvent(filter),
    property: reads ? property.trim() : null,
    by_event: measure === "events" && byEvent,
    percentiles: measure === "percentiles" ? before?.percentiles : undefined,
    limit: before?.limit,
    ...(chosen === "week" || chosen === "month"
      ? { interval: chosen }
      : { bucket_s: Number(chosen) as Bucket }),
    timezone: before?.timezone,
    week_start: before?.week_start,
    breakdown: before?.breakdown,
    since: before?.since,
  };
  const preview = usePreview("trends", reads && !property.trim() ? undefined : lately(body));
  const title = before ? t("edit_named", { name: titleOf(before) }) : t("new_metric");

  const back = address(project.value, "metrics", ...(before ? [before.id] : []));

  const save = async () => {
    const places = { project: project.value };
    const made = before
      ? await put(
          "/api/projects/{project}/metrics/{id}",
          { ...places, id: before.id },
          { ...body, revision: before.revision },
        )
      : await post("/api/projects/{project}/metrics", places, {
          ...body,
          id: freeId(name, "metric", definitions.value?.metrics ?? []),
        });
    await readDefinitions();
    go(project.value, "metrics", made.id);
  };

  return (
    <>
      <Head
        title={title}
        note={t(before ? "edit_definition_note" : "new_metric_note")}
        back={back}
      />
      {rows.length < where.length ? (
        <p class="withheld">{t("nested_conditions")}</p>
      ) : (
        <div class="explorer">
          <SaveForm
            class="card form controls"
            label={t(before ? "save" : "create_metric")}
            cancel={back}
            onSave={save}
          >
            <TextField label={t("name")} value={name} onValue={setName} />
            <Choice
              wide
              label={t("measure")}
              prefix="measure"
              options={MEASURES}
              value={measure}
              onValue={setMeasure}
            />
            {reads && (
              <label>
                {t("property")}
                <Suggest
                  label={t("measured_property")}
                  required
                  wanted={{ of: "property", event: filter.event }}
                  value={property}
                  onValue={setProperty}
                />
              </label>
            )}
            <EventBox
              title={t("event")}
              value={filter}
              onChange={(part) => setFilter({ ...filter, ...part })}
            />
            <Choice
              wide
              label={t("bucket")}
              prefix="bucket"
              options={buckets}
              value={chosen}
              onValue={setBucket}
            />
            {measure === "events" && <Check label={t("by_event")} value={byEvent} onValue={setByEvent} />}
          </SaveForm>
          <section class="card answer" aria-label={t("preview")} aria-busy={preview.busy}>
            <header>
              <h2>{t("preview")}</h2>
            </header>
            {preview.error && <Failed message={preview.error} />}
            {reads && !property.trim() && <p class="note">{t("needs_trends")}</p>}
            {preview.answer && preview.of && (
              <div class={preview.busy ? "figures-of old" : "figures-of"}>
                <Trends answer={preview.answer} request={preview.of} />
              </div>
            )}
          </section>
        </div>
      )}
    </>
  );
}

/** What the metric would have measured lately, in intervals that come closest to its buckets. */
function lately(metric: Schemas["Metric"]): Requests["trends"] {
  const { measure, filter, property } = metric;
  const bucket = metric.bucket_s ?? 60;
  const one = { event: filter?.event, where: filter?.where };
  const range = metric.interval
    ? ({ interval: metric.interval, last: 12 } as const)
    : bucket < 600
      ? ({ interval: "minute", last: 120 } as const)
      : bucket < 86_400
        ? ({ interval: "hour", last: 72 } as const)
        : ({ interval: "day", last: 30 } as const);
  switch (measure) {
    case "top":
      return { series: [one], breakdown: [{ property: property ?? "" }], top: 10, ...range };
    case "percentiles":
      return {
        series: (metric.percentiles?.length ? metric.percentiles.slice(0, 10) : PERCENTILES).map(
          (percentile) => ({ ...one, measure: "percentile" as const, property, percentile }),
        ),
        ...range,
      };
    case "events":
    case "persons":
      return { series: [{ ...one, measure }], ...range };
    default:
      return { series: [{ ...one, measure, property }], ...range };
  }
}
