/** Links that show a dashboard to whoever has them: made, shown once, listed and revoked. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post, remove } from "../state/api";
import { moment } from "../state/format";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Icon } from "../parts/icons";
import { Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";

export function Share({ id, onClose }: { id: string; onClose: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [changed, change] = useState(0);
  const [made, setMade] = useState<Schemas["NewLinkResponse"]>();
  const [error, setError] = useState("");
  const places = { project: project.value };
  const { value } = useAsked(`${project.value}/${id}/links`, () => get("/api/projects/{project}/links", places), changed, 0);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  const run = async (work: () => Promise<void>) => {
    try {
      await work();
      setError("");
    } catch (failure) {
      setError(failure instanceof Error ? failure.message : String(failure));
    }
    change((before) => before + 1);
  };
  const links = value?.links.filter((one) => one.dashboard === id);
  return (
    <dialog ref={dialog} class="drawer" aria-label={t("share")} onClose={onClose}>
      <header>
        <h2>{t("share")}</h2>
        <button type="button" class="quiet" aria-label={t("close")} onClick={() => dialog.current?.close()}>
          <Icon name="close" />
        </button>
      </header>
      <p class="note">{t("share_note")}</p>
      {error && <Failed message={error} />}
      {made && <NewLink made={made} />}
      {mayWrite.value && (
        <LinkForm
          onMake={(body) =>
            void run(async () => {
              setMade(await post("/api/projects/{project}/dashboards/{id}/links", { ...places, id }, body));
            })
          }
        />
      )}
      <h3>{t("links")}</h3>
      {!links && <Loading />}
      {links?.length === 0 && <p class="note">{t("no_links")}</p>}
      <ul class="links">
        {links?.map((one) => (
          <li key={one.id}>
            <div>
              <strong>{one.name || one.id}</strong>
              <p class="note">{t("link_until", { time: moment(one.expires_at) })}</p>
              {one.embed.length > 0 && <p class="note">{t("link_embed", { pages: one.embed.join(", ") })}</p>}
            </div>
            {mayWrite.value && (
              <button
                type="button"
                class="danger"
                onClick={() =>
                  void run(async () => {
                    await remove("/api/projects/{project}/links/{id}", { ...places, id: one.id });
                    if (made?.link.id === one.id) setMade(undefined);
                  })
                }
              >
                {t("revoke")}
                <span class="sr"> {one.name || one.id}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
    </dialog>
  );
}

function LinkForm({ onMake }: { onMake: (body: Schemas["NewLink"]) => void }): JSX.Element {
  const [name, setName] = useState("");
  const [days, setDays] = useState("30");
  const [embed, setEmbed] = useState("");
  const pages = embed.split(/[\s,]+/).filter(Boolean);
  return (
    <form
      class="form"
      onSubmit={(event) => {
        event.preventDefault();
        onMake({ name: name.trim(), days: Number(days), embed: pages });
      }}
    >
      <div class="row">
        <label>
          {t("link_name")}
          <input value={name} maxLength={200} onInput={(event) => setName(event.currentTarget.value)} />
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
      </div>
      <label>
        {t("link_pages")}
        <textarea
          rows={2}
          placeholder="https://intranet.example"
          spellcheck={false}
          value={embed}
          onInput={(event) => setEmbed(event.currentTarget.value)}
        />
      </label>
      <div class="actions">
        <button type="submit" class="primary">
          {t("link_make")}
        </button>
      </div>
    </form>
  );
}

/** The address of a new link, which contains its secret and is shown this once. */
function NewLink({ made }: { made: Schemas["NewLinkResponse"] }): JSX.Element {
  const whole = `${location.origin}${made.path}`;
  return (
    <section class="card once" aria-label={t("link_made")}>
      <p>{t("link_once")}</p>
      <Copied label={t("link_address")} text={whole} />
      {made.link.embed.length > 0 && (
        <Copied label={t("link_frame")} text={`<iframe src="${whole}" width="100%" height="800"></iframe>`} />
      )}
    </section>
  );
}

/** A text to take along, with a button that copies it. */
export function Copied({ label, text }: { label: string; text: string }): JSX.Element {
  const [done, setDone] = useState(false);
  return (
    <div class="copied">
      <label>
        {label}
        <input readOnly value={text} onFocus={(event) => event.currentTarget.select()} />
      </label>
      <button
        type="button"
        onClick={() =>
          void navigator.clipboard?.writeText(text).then(
            () => setDone(true),
            () => setDone(false),
          )
        }
      >
        {done ? t("copied") : t("copy")}
      </button>
    </div>
  );
}
