import type { JSX } from "preact";
import { get } from "../state/api";
import { count, moment } from "../state/format";
import { now } from "../state/health";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Empty, Failed, Loading } from "../parts/notes";
import { Reinject } from "../parts/reinject";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";

const EVERY_MS = 5_000;

export function Rejected(): JSX.Element {
  const { value, error } = useAsked(
    project.value,
    () => get("/api/projects/{project}/rejected", { project: project.value }, { samples: 3 }),
    Math.floor(now.value / EVERY_MS),
  );
  return (
    <>
      <Head title={t("page_rejected")} note={t("rejected_note")} />
      {error && !value && <Failed message={error} />}
      {!value && !error && <Loading />}
      {value?.total === 0 && <Empty title={t("nothing_rejected")}>{t("nothing_rejected_note")}</Empty>}
      <div class="stack">
        {value?.reasons.map((one) => (
          <section class="card" key={one.reason}>
            <header>
              <h2>{one.reason}</h2>
              <span class="note">
                {t("rejected_count", { n: count(one.count), time: moment(one.last_at) })}
              </span>
            </header>
            {mayWrite.value && <Reinject reason={one.reason} known={one.count} />}
            {one.samples.map((sample) => (
              <div class="sample" key={`${sample.topic}/${sample.partition}/${sample.offset}`}>
                <p>{sample.detail}</p>
                <code>{sample.value}</code>
                <p class="note">
                  {sample.topic} · {sample.partition} · {sample.offset} · {moment(sample.rejected_at)}
                </p>
              </div>
            ))}
          </section>
        ))}
      </div>
    </>
  );
}
