/** Links that show a dashboard to whoever has them: made, shown once, listed and revoked. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, get, post, remove } from "../state/api";
import { moment } from "../state/format";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Copied } from "../parts/copied";
import { Dialog } from "../parts/dialog";
import { Amount, AreaField, TextField } from "../parts/fields";
import { SaveForm, useRun } from "../parts/form";
import { Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";

export function Share({ id, onClose }: { id: string; onClose: () => void }): JSX.Element {
  const [changed, change] = useState(0);
  const [made, setMade] = useState<Schemas["NewLinkResponse"]>();
  const { error, run } = useRun();
  const places = { project: project.value };
  const { value } = useAsked(`${project.value}/${id}/links`, () => get("/api/projects/{project}/links", places), changed, 0);
  const links = value?.links.filter((one) => one.dashboard === id);
  const revoke = (link: string) =>
    run(async () => {
      await remove("/api/projects/{project}/links/{id}", { ...places, id: link });
      if (made?.link.id === link) setMade(undefined);
    }).finally(() => change((before) => before + 1));
  return (
    <Dialog title={t("share")} onClose={onClose}>
      <p class="note">{t("share_note")}</p>
      {error && <Failed message={error} />}
      {made && <NewLink made={made} />}
      {mayWrite.value && (
        <LinkForm
          onMake={async (body) => {
            setMade(await post("/api/projects/{project}/dashboards/{id}/links", { ...places, id }, body));
            change((before) => before + 1);
          }}
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
              <button type="button" class="danger" onClick={() => void revoke(one.id)}>
                {t("revoke")}
                <span class="sr"> {one.name || one.id}</span>
              </button>
            )}
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

function LinkForm({ onMake }: { onMake: (body: Schemas["NewLink"]) => Promise<void> }): JSX.Element {
  const [name, setName] = useState("");
  const [days, setDays] = useState("30");
  const [embed, setEmbed] = useState("");
  const pages = embed.split(/[\s,]+/).filter(Boolean);
  return (
    <SaveForm label={t("link_make")} onSave={() => onMake({ name: name.trim(), days: Number(days), embed: pages })}>
      <div class="row">
        <TextField label={t("link_name")} value={name} onValue={setName} />
        <Amount label={t("link_days")} max={366} required value={days} onValue={setDays} />
      </div>
      <AreaField
        label={t("link_pages")}
        rows={2}
        placeholder="https://intranet.example"
        value={embed}
        onValue={setEmbed}
      />
    </SaveForm>
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
