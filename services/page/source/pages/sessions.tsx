import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, remove } from "../state/api";
import { moment } from "../state/format";
import { readSession } from "../state/session";
import { t } from "../words";
import { Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";

export function Sessions(): JSX.Element {
  const [ended, setEnded] = useState(0);
  const [trouble, setTrouble] = useState("");
  const { value, error } = useAsked("sessions", () => get("/sessions"), ended);
  const end = async (id: string) => {
    try {
      await remove("/sessions/{id}", { id });
      await readSession();
    } catch (failure) {
      setTrouble(failure instanceof Error ? failure.message : String(failure));
    }
    setEnded(ended + 1);
  };
  return (
    <>
      <Head title={t("page_sessions")} note={t("sessions_note")} />
      {(error || trouble) && <Failed message={error || trouble} />}
      {!value && !error && <Loading />}
      {value && (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("token")}</th>
                <th scope="col">{t("project")}</th>
                <th scope="col">{t("role")}</th>
                <th scope="col">{t("begun")}</th>
                <th scope="col">{t("ends")}</th>
                <th scope="col">{t("browser")}</th>
                <th scope="col">
                  <span class="sr">{t("end_session")}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {value.sessions.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    {one.user || <code>{one.token}</code>}
                    {one.current && ` · ${t("this_one")}`}
                  </th>
                  <td>
                    {one.grants
                      .map((each) => (each.project_id === "*" ? t("all_projects") : each.project_id))
                      .join(", ")}
                  </td>
                  <td>{one.grants.map((each) => t(`role_${each.role}`)).join(", ")}</td>
                  <td>{moment(one.created_at)}</td>
                  <td>{moment(one.expires_at)}</td>
                  <td class="agent" title={one.client}>
                    {one.client}
                  </td>
                  <td>
                    <button type="button" class="link" onClick={() => void end(one.id)}>
                      {t("end_session")}
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
