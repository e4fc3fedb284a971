import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import { get, put, remove } from "../state/api";
import { definitions } from "../state/definitions";
import { now } from "../state/health";
import { moment } from "../state/format";
import { address, go, route } from "../state/router";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Board } from "../boards/board";
import { starterOf } from "../boards/starter";
import { Scope } from "../boards/scope";
import { Share } from "../boards/share";
import { TileForm } from "../boards/tile-form";
import { type Dashboard, type Draft, type Tile, draftOf } from "../boards/types";
import { Delete } from "../parts/delete";
import { Icon } from "../parts/icons";
import { freeId } from "../parts/ids";
import { Empty, Failed, Loading } from "../parts/notes";
import { useAsked } from "../parts/resource";
import { Head } from "../parts/shell";

// Others may change a dashboard, too.
const EVERY_MS = 5_000;

export function Dashboards(): JSX.Element {
  const { id } = route.value;
  return id ? <DashboardPage id={id} /> : <DashboardList />;
}

async function every(): Promise<Dashboard[]> {
  const page = await get("/api/projects/{project}/dashboards", { project: project.value }, { limit: 200 });
  return page.dashboards;
}

async function create(body: Partial<Draft>, others: readonly Dashboard[]): Promise<void> {
  const id = freeId(body.name ?? "", "dashboard", others);
  await put("/api/projects/{project}/dashboards/{id}", { project: project.value, id }, body);
  go(project.value, "dashboards", id);
}

function DashboardList(): JSX.Element {
  const { value, error } = useAsked(`${project.value}/dashboards`, every, Math.floor(now.value / EVERY_MS));
  const [trouble, setTrouble] = useState("");
  const run = (work: () => Promise<void>) => {
    work().catch((failure: unknown) => setTrouble(failure instanceof Error ? failure.message : String(failure)));
  };
  const read = async (file: File | undefined) => {
    if (!file) return;
    const { id: _, revision: __, version: ___, ...body } = JSON.parse(await file.text()) as Partial<Dashboard>;
    await create(body, value ?? []);
  };
  const making = mayWrite.value && value && (
    <>
      <label class="button file">
        {t("import")}
        <input
          class="sr"
          type="file"
          accept="application/json,.json"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            run(() => read(file));
          }}
        />
      </label>
      <button
        type="button"
        class="primary"
        onClick={() => run(() => create(starterOf(t("board_first"), definitions.value), value))}
      >
        <Icon name="plus" />
        {t("new_board")}
      </button>
    </>
  );
  return (
    <>
      <Head title={t("page_dashboards")} note={t("boards_note")}>
        {making}
      </Head>
      {(trouble || (error && !value)) && <Failed message={trouble || error} />}
      {!value && !error && <Loading />}
      {value?.length === 0 && <Empty title={t("no_boards")}>{t("no_boards_note")}</Empty>}
      {value && value.length > 0 && (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{t("name")}</th>
                <th scope="col" class="number">
                  {t("tiles")}
                </th>
                <th scope="col">{t("changed")}</th>
              </tr>
            </thead>
            <tbody>
              {value.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    <a href={address(project.value, "dashboards", one.id)}>{one.name || one.id}</a>
                  </th>
                  <td class="number">{one.tiles.length}</td>
                  <td>{moment(one.updated_at)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function DashboardPage({ id }: { id: string }): JSX.Element {
  const places = { project: project.value, id };
  const [saved, setSaved] = useState(0);
  const { value, error } = useAsked(
    `${project.value}/${id}`,
    () => get("/api/projects/{project}/dashboards/{id}", places),
    `${saved}/${Math.floor(now.value / EVERY_MS)}`,
  );
  const [held, hold] = useState<Dashboard>();
  const [draft, setDraft] = useState<Draft>();
  const [editing, setEditing] = useState(false);
  const [edited, edit] = useState<Tile | "new">();
  const [sharing, share] = useState(false);
  const [trouble, setTrouble] = useState("");
  const changed = Boolean(held && draft && JSON.stringify(draft) !== JSON.stringify(draftOf(held)));

  useEffect(() => {
    // What somebody else saves is shown, unless it would take away what is being changed here.
    if (value && value.revision !== held?.revision && !(changed && held)) {
      hold(value);
      setDraft(draftOf(value));
    }
  }, [value, changed]);

  if (error && !held) return <Failed message={error} />;
  if (!held || !draft) return <Loading />;
  const change = (part: Partial<Draft>) => setDraft({ ...draft, ...part });
  const save = async () => {
    try {
      const done = await put("/api/projects/{project}/dashboards/{id}", places, { ...draft, revision: held.revision });
      hold(done);
      setDraft(draftOf(done));
      setEditing(false);
      setTrouble("");
      setSaved(saved + 1);
    } catch (failure) {
      setTrouble(failure instanceof Error ? failure.message : String(failure));
    }
  };
  const take = (tile: Tile) => {
    const known = draft.tiles.some((one) => one.id === tile.id);
    change({ tiles: known ? draft.tiles.map((one) => (one.id === tile.id ? tile : one)) : [...draft.tiles, tile] });
    edit(undefined);
  };
  return (
    <>
      <Head title={draft.name || id} note={draft.description} back={address(project.value, "dashboards")}>
        {(changed || editing) && (
          <button
            type="button"
            class="quiet"
            onClick={() => {
              setDraft(draftOf(value ?? held));
              hold(value ?? held);
              setEditing(false);
              setTrouble("");
            }}
          >
            {t("cancel")}
          </button>
        )}
        {mayWrite.value && (changed || editing) && (
          <button type="button" class="primary" disabled={!changed} onClick={() => void save()}>
            {t("save")}
          </button>
        )}
        {!editing && (
          <>
            <button type="button" onClick={() => share(true)}>
              {t("share")}
            </button>
            <button type="button" onClick={() => download(id, held)}>
              {t("export")}
            </button>
          </>
        )}
        {mayWrite.value && !editing && (
          <button type="button" onClick={() => setEditing(true)}>
            {t("edit")}
          </button>
        )}
        {mayWrite.value && editing && (
          <>
            <button type="button" onClick={() => edit("new")}>
              <Icon name="plus" />
              {t("tile_add")}
            </button>
            <Delete
              name={draft.name || id}
              run={() => remove("/api/projects/{project}/dashboards/{id}", places)}
              then={() => go(project.value, "dashboards")}
            />
          </>
        )}
      </Head>
      {trouble && <Failed message={trouble} />}
      {editing && (
        <div class="form board-form">
          <label>
            {t("name")}
            <input value={draft.name} maxLength={200} onInput={(event) => change({ name: event.currentTarget.value })} />
          </label>
          <label>
            {t("description")}
            <input
              value={draft.description}
              maxLength={1_000}
              onInput={(event) => change({ description: event.currentTarget.value })}
            />
          </label>
          <p class="note">{t("board_how")}</p>
        </div>
      )}
      <Scope
        key={held.revision}
        range={draft.range}
        where={draft.where}
        onRange={(range) => change({ range })}
        onWhere={(where) => change({ where })}
      />
      {draft.tiles.length === 0 && <Empty title={t("board_empty")}>{t("board_empty_note")}</Empty>}
      <Board draft={draft} editing={editing} onTiles={(tiles) => change({ tiles })} onEdit={edit} />
      {edited && (
        <TileForm
          tile={edited === "new" ? undefined : edited}
          draft={draft}
          onSave={take}
          onClose={() => edit(undefined)}
        />
      )}
      {sharing && <Share id={id} onClose={() => share(false)} />}
    </>
  );
}

/** Save the dashboard as a file that another project, or another system, can import. */
function download(id: string, held: Dashboard): void {
  const text = `${JSON.stringify(draftOf(held), null, 2)}\n`;
  const place = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = place;
  link.download = `${id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(place), 10_000);
}
