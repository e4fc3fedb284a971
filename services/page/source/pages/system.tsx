import type { JSX } from "preact";
import { get } from "../state/api";
import { askedAt, checks, now } from "../state/health";
import { connected, rate } from "../state/live";
import { age, decimal } from "../state/format";
import { project } from "../state/session";
import { t } from "../words";
import { Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";

export function System(): JSX.Element {
  const { value } = useAsked(project.value, () =>
    get("/api/projects/{project}/status", { project: project.value }),
  );
  const rows = Object.entries(checks.value);
  return (
    <>
      <Head
        title={t("page_system")}
        note={askedAt.value ? t("checked", { age: age(now.value - askedAt.value) }) : ""}
      />
      <div class="stack">
        <section class="card">
          {rows.length === 0 ? (
            <Loading />
          ) : (
            <div class="scroll">
              <table class="figures">
                <thead>
                  <tr>
                    <th scope="col">{t("part")}</th>
                    <th scope="col">{t("state")}</th>
                  </tr>
                </thead>
                <tbody>
                  <tr>
                    <th scope="row">{t("live_connection")}</th>
                    <td>
                      <span class={connected.value ? "badge live" : "badge failed"}>
                        {connected.value ? t("open") : t("lost")}
                      </span>
                    </td>
                  </tr>
                  {rows.map(([name, said]) => (
                    <tr key={name}>
                      <th scope="row">{name}</th>
                      <td class="wrap">
                        <span class={said === "ok" ? "badge live" : "badge failed"}>{said}</span>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          )}
        </section>
        <section class="card">
          <dl class="facts">
            <dt>{t("events_per_s")}</dt>
            <dd>{decimal(rate.value, 1)}</dd>
            {value && (
              <>
                <dt>{t("dedup_covered")}</dt>
                <dd>
                  {t("hours_of", {
                    covered: decimal(value.dedup.covered_hours, 1),
                    window: decimal(value.dedup.window_hours, 1),
                  })}
                  {value.dedup.warning && <p class="failed">{value.dedup.warning}</p>}
                </dd>
              </>
            )}
          </dl>
        </section>
        <p class="note">
          <a class="link" href="/openapi.json">
            openapi.json
          </a>{" "}
          ·{" "}
          <a class="link" href="/metrics">
            Prometheus
          </a>{" "}
          ·{" "}
          <a class="link" href="/assets/LICENCES.txt">
            {t("licences")}
          </a>
        </p>
      </div>
    </>
  );
}
