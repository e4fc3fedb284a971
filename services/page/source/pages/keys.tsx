/** Write keys and query tokens of the project: listed, made, shown once and revoked. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post, remove } from "../state/api";
import { day, moment } from "../state/format";
import { address } from "../state/router";
import { project, session } from "../state/session";
import { t } from "../words";
import { Confirm } from "../parts/confirm";
import { Copied } from "../parts/copied";
import { Amount, Choice, TextField } from "../parts/fields";
import { SaveForm, useRun } from "../parts/form";
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
  const { error, run } = useRun();
  if (session.value?.role !== "admin") {
    return (
      <>
        <Head title={t("page_keys")} />
        <Empty title={t("keys_admin")}>{t("keys_admin_note")}</Empty>
      </>
    );
  }
  const again = () => change((before) => before + 1);
  const revoke = (work: () => Promise<unknown>) => run(work).finally(again);
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
        <WriteKeys changed={changed} revoke={revoke} again={again} />
        <Tokens changed={changed} revoke={revoke} again={again} />
      </div>
    </>
  );
}

interface Listed {
  changed: number;
  /** Revoke one, and read the list again. */
  revoke: (work: () => Promise<unknown>) => Promise<void>;
  again: () => void;
}

function WriteKeys({ changed, revoke, again }: Listed): JSX.Element {
  const places = { project: project.value };
  const { value, error } = useAsked(
    `${project.value}/keys`,
    () => get("/api/projects/{project}/write-keys", places),
    changed,
    0,
  );
  const [name, setName] = useState("");
  const [origins, setOrigins] = useState("");
  const make = async () => {
    const pages = origins.split(/[\s,]+/).filter(Boolean);
    await post("/api/projects/{project}/write-keys", places, { name: name.trim(), origins: pages });
    setName("");
    setOrigins("");
    again();
  };
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
                        revoke(() => remove("/api/projects/{project}/write-keys/{id}", { ...places, id: one.id }))
                      }
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <SaveForm plain class="row make" label={t("make_key")} onSave={make}>
        <TextField label={t("what_for")} value={name} onValue={setName} />
        <TextField
          label={t("key_pages")}
          max={2_000}
          placeholder="https://shop.example"
          value={origins}
          onValue={setOrigins}
        />
      </SaveForm>
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

function Tokens({ changed, revoke, again }: Listed): JSX.Element {
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
  const make = async () => {
    const body = { name: name.trim(), scopes: SCOPES[role], days: Number(days), all_projects: role === "admin" };
    setMade(await post("/api/projects/{project}/tokens", places, body));
    setName("");
    again();
  };
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
                          revoke(async () => {
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
      <SaveForm plain class="row make" label={t("make_token")} onSave={make}>
        <TextField label={t("what_for")} value={name} onValue={setName} />
        <Choice
          wide
          label={t("role")}
          prefix="role"
          options={["viewer", "editor", "admin"]}
          value={role}
          onValue={setRole}
        />
        <Amount label={t("link_days")} max={366} required value={days} onValue={setDays} />
      </SaveForm>
    </section>
  );
}
