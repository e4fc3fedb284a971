/** The list of all definitions of one kind: each with what is live of it, and its state. */
import type { ComponentChildren, JSX } from "preact";
import type { Schemas } from "../state/api";
import { titleOf } from "../state/definitions";
import { address } from "../state/router";
import { project } from "../state/session";
import { Loading, StateBadge } from "./notes";
import { Head } from "./shell";
import { t } from "../words";

/** A column between the title and the state of each definition. */
interface Column<D, L> {
  title: string;
  class?: string;
  cell: (one: D, live: L | undefined) => ComponentChildren;
}

interface Definition {
  id: string;
  name?: string;
}

interface Live {
  state: Schemas["StatusResponse"]["state"];
  backfilled: number;
}

/** Show definitions: `held` is undefined until they are known; `empty` is shown if there are none. */
export function DefinitionList<D extends Definition, L extends Live>({
  page,
  title,
  note,
  name,
  held,
  latest,
  columns,
  empty,
  create,
}: {
  page: string;
  title: string;
  note: string;
  name: string;
  held: readonly D[] | undefined;
  latest: ReadonlyMap<string, L>;
  columns: readonly Column<D, L>[];
  empty: ComponentChildren;
  create?: ComponentChildren;
}): JSX.Element {
  return (
    <>
      <Head title={title} note={note}>
        {held && held.length > 0 && create}
      </Head>
      {!held && <Loading />}
      {held?.length === 0 && empty}
      {held && held.length > 0 && (
        <div class="card scroll">
          <table class="figures">
            <thead>
              <tr>
                <th scope="col">{name}</th>
                {columns.map((column) => (
                  <th key={column.title} scope="col" class={column.class}>
                    {column.title}
                  </th>
                ))}
                <th scope="col">{t("state")}</th>
              </tr>
            </thead>
            <tbody>
              {held.map((one) => {
                const live = latest.get(one.id);
                return (
                  <tr key={one.id}>
                    <th scope="row">
                      <a href={address(project.value, page, one.id)}>{titleOf(one)}</a>
                    </th>
                    {columns.map((column) => (
                      <td key={column.title} class={column.class}>
                        {column.cell(one, live)}
                      </td>
                    ))}
                    <td>{live && <StateBadge state={live.state} backfilled={live.backfilled} />}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
