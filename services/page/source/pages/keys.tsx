/** Write keys and query tokens of the project: listed, made, shown once and revoked. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post, remove } from "../state/api";
import { day, moment } from "../state/format";
import { address } from "../state/router";
import { project, session } from "../state/session";
import { t } from "../words";
import { Copied } from "../boards/share";
import { Confirm } from "../parts/confirm";
import { Empty, Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";

type Role = Schemas["TokenResponse"]["role"];
const SCOPES: Record<Role, Schemas["NewToken"]["scopes"]> = {
  viewer: ["read"],
  editor: ["read", "write"],
  admin: ["read", "write"],
};

export function Keys(): JSX.Element {
  const [changed, change] = useState(0);
  const [error, setError] = useState("");
  if (session.value?.role !== "admin") {
    return (
      <>
        <Head title={t("page_keys")} />
        <Empty title={t("keys_admin")}>{t("keys_admin_note")}</Empty>
      </>
    );
  }
  const run = async (work: () => Promise<unknown>) => {
    try {
      await work();
      setError("");
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
    change((before) => before + 1);
  };
  return (
    <>
      <Head
        title={t("page_keys")}
        note={
          <>
            {t("keys_note")} <a href={address(project.value, "sessions")}>{t("page_sessions")}</a>
          </>
        }
      />
      {error && <Failed message={error} />}
      <div class="stack">
        <WriteKeys changed={changed} run={run} />
        <Tokens changed={changed} run={run} />
      </div>
    </>
  );
}

type Run = (work: () => Promise<unknown>) => Promise<void>;

function WriteKeys({ changed, run }: { changed: number; run: Run }): JSX.Element {
  const places = { project: project.value };
  const { value, error } = useAsked(
    `${project.value}/keys`,
    () => get("/api/projects/{project}/write-keys", places),
    changed,
    0,
  );
  const [name, setName] = useState("");
  const [origins, setOrigins] = useState("");
  const make = () =>
    run(async () => {
      const pages = origins.split(/[\s,]+/).filter(Boolean);
      await post("/api/projects/{project}/write-keys", places, { name: name.trim(), origins: pages });
      setName("");
      setOrigins("");
    });
  return (
    <section class="card" aria-label={t("write_keys")}>
      <header>
        <h2>{t("write_keys")}</h2>
      </header>
      <p class="note">{t("write_keys_note")}</p>
      {error && !value && <Failed message={error} />}
      {!value && !error && <Loading />}
      {value?.keys.length === 0 && <p class="note">{t("no_keys")}</p>}
      {value && value.keys.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={t("write_keys")}>
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("write_key")}</th>
                <th scope="col">{t("name")}</th>
                <th scope="col">{t("key_limits")}</th>
                <th scope="col">{t("key_pages")}</th>
                <th scope="col">{t("made_at")}</th>
                <th scope="col">
                  <span class="sr">{t("revoke")}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {value.keys.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    <code>{one.id}</code>
                  </th>
                  <td>{one.name || "–"}</td>
                  <td>{limits(one)}</td>
                  <td>{one.origins.join(", ") || t("every_page")}</td>
                  <td>{moment(one.created_at)}</td>
                  <td>
                    <Confirm
                      label={t("revoke")}
                      of={one.name || one.id}
                      run={() =>
                        run(() => remove("/api/projects/{project}/write-keys/{id}", { ...places, id: one.id }))
                      }
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <form
        class="row make"
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <label>
          {t("what_for")}
          <input value={name} maxLength={200} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label>
          {t("key_pages")}
          <input
            value={origins}
            placeholder="https://shop.example"
            spellcheck={false}
            onInput={(event) => setOrigins(event.currentTarget.value)}
          />
        </label>
        <button type="submit">{t("make_key")}</button>
      </form>
    </section>
  );
}

function limits(key: Schemas["WriteKeyResponse"]): string {
  const parts = [
    key.events_per_s && t("key_per_s", { n: key.events_per_s }),
    key.events_per_day && t("key_per_day", { n: key.events_per_day }),
  ].filter(Boolean);
  return parts.join(", ") || "–";
}

function Tokens({ changed, run }: { changed: number; run: Run }): JSX.Element {
  const places = { project: project.value };
  const { value, error } = useAsked(
    `${project.value}/tokens`,
    () => get("/api/projects/{project}/tokens", places),
    changed,
    0,
  );
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const [days, setDays] = useState("90");
  const [made, setMade] = useState<Schemas["NewTokenResponse"]>();
  const make = () =>
    run(async () => {
      const body = { name: name.trim(), scopes: SCOPES[role], days: Number(days), all_projects: role === "admin" };
      setMade(await post("/api/projects/{project}/tokens", places, body));
      setName("");
    });
  return (
    <section class="card" aria-label={t("query_tokens")}>
      <header>
        <h2>{t("query_tokens")}</h2>
      </header>
      <p class="note">{t("tokens_note")}</p>
      {made && (
        <section class="card once" aria-label={t("token_made")}>
          <p>{t("link_once")}</p>
          <Copied label={t("query_token")} text={made.text} />
        </section>
      )}
      {error && !value && <Failed message={error} />}
      {!value && !error && <Loading />}
      {value && (
        <div class="scroll" tabIndex={0} role="region" aria-label={t("query_tokens")}>
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("token")}</th>
                <th scope="col">{t("name")}</th>
                <th scope="col">{t("role")}</th>
                <th scope="col">{t("project")}</th>
                <th scope="col">{t("ends")}</th>
                <th scope="col" class="number">
                  {t("page_sessions")}
                </th>
                <th scope="col">
                  <span class="sr">{t("revoke")}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {value.tokens.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    <code>{one.id}</code>
                    {one.current && ` · ${t("this_one")}`}
                  </th>
                  <td>{one.name || "–"}</td>
                  <td>{t(`role_${one.role}`)}</td>
                  <td>{one.project_id === "*" ? t("all_projects") : one.project_id}</td>
                  <td>{day(one.expires_at.slice(0, 10))}</td>
                  <td class="number">{one.sessions}</td>
                  <td>
                    {/* Who would revoke the token of this session would be out at once. */}
                    {!one.current && (
                      <Confirm
                        label={t("revoke")}
                        of={one.name || one.id}
                        run={() =>
                          run(async () => {
                            await remove("/api/projects/{project}/tokens/{id}", { ...places, id: one.id });
                            if (made?.token.id === one.id) setMade(undefined);
                          })
                        }
                      />
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <form
        class="row make"
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <label>
          {t("what_for")}
          <input value={name} maxLength={200} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label>
          {t("role")}
          <select value={role} onChange={(event) => setRole(event.currentTarget.value as Role)}>
            {(["viewer", "editor", "admin"] as const).map((one) => (
              <option key={one} value={one}>
                {t(`role_${one}`)}
              </option>
            ))}
          </select>
        </label>
        <label class="narrow">
          {t("link_days")}
          <input
            type="number"
            min="1"
            max="366"
            required
            value={days}
            onInput={(event) => setDays(event.currentTarget.value)}
          />
        </label>
        <button type="submit">{t("make_token")}</button>
      </form>
    </section>
  );
}
