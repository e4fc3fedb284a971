import { useMemo, useState } from "preact/hooks";
import type { JSX } from "preact";
import { type Schemas, post } from "../../state/api";
import { count } from "../../state/format";
import { project } from "../../state/session";
import { t } from "../../words";
import type { Requests } from "../requests";
import { Persons } from "../../parts/persons";
import { type Link, type Node, Sankey } from "../../parts/sankey";
import { Unsettled } from "../../parts/notes";
import { AsTable } from "../../parts/table";

type Answer = Schemas["PathsResponse"];
const MOST_NODES = 8;

export function Paths({ answer, request }: { answer: Answer; request: Requests["paths"] }): JSX.Element {
  const { nodes, links } = useMemo(() => diagram(answer), [answer]);
  const [opened, setOpened] = useState<Node>();
  if (!answer.paths) return <p class="note">{t("no_paths")}</p>;
  return (
    <>
      <p class="note">{t("paths_of", { n: count(answer.paths) })}</p>
      <Sankey
        label={t("query_paths")}
        nodes={nodes}
        links={links}
        onNode={(node) => node.id.startsWith("other ") || setOpened(node)}
      />
      <Unsettled any={answer.incomplete} />
      <AsTable
        caption={t("query_paths")}
        columns={[
          { title: t("step") },
          { title: t("from") },
          { title: t("to") },
          { title: t("persons"), numeric: true, show: count },
        ]}
        rows={answer.edges.map((one) => [
          one.step,
          one.source ?? t("others"),
          one.target ?? t("others"),
          one.persons,
        ])}
      />
      {opened && (
        <Persons
          title={t("who_at_step", { step: opened.step, event: opened.name })}
          read={async ({ after, limit }) => {
            const found = await post(
              "/api/projects/{project}/query/paths",
              { project: project.value },
              {
                ...request,
                as_of: answer.positions,
                persons: { step: opened.step, event: opened.name, limit, after },
              },
            );
            return found.persons ?? { persons: [], next: null };
          }}
          onClose={() => setOpened(undefined)}
        />
      )}
    </>
  );
}

/** The nodes and links to draw: at each step the most frequent events, the rest as one. */
function diagram(answer: Answer): { nodes: Node[]; links: Link[] } {
  const nodes = new Map<string, Node>();
  const named = new Map<number, Set<string>>();
  for (const step of new Set(answer.events.map((one) => one.step))) {
    const events = answer.events.filter((one) => one.step === step);
    const linked = new Set(
      answer.edges.flatMap((one) =>
        [one.step === step && one.source, one.step + 1 === step && one.target].filter((name) => name),
      ),
    );
    const most = events
      .filter((one) => linked.has(one.event))
      .sort((one, other) => other.persons - one.persons)
      .slice(0, MOST_NODES);
    named.set(step, new Set(most.map((one) => one.event)));
    for (const one of most) {
      nodes.set(id(step, one.event), { id: id(step, one.event), step, name: one.event, persons: one.persons });
    }
  }
  const end = (step: number, event: string | null) => {
    const events = answer.events.filter((one) => one.step === step);
    // Where all persons are at one event, the others are there, too.
    const at = event ?? (events.length === 1 ? (events[0]?.event ?? null) : null);
    return at !== null && named.get(step)?.has(at) ? id(step, at) : `other ${step}`;
  };
  const links = new Map<string, Link>();
  const others = new Map<string, { step: number; in: number; out: number }>();
  for (const one of answer.edges) {
    const [source, target] = [end(one.step, one.source), end(one.step + 1, one.target)];
    const link = links.get(`${source} ${target}`);
    if (link) link.persons += one.persons;
    else links.set(`${source} ${target}`, { source, target, persons: one.persons });
    for (const [name, step, side] of [
      [source, one.step, "out"],
      [target, one.step + 1, "in"],
    ] as const) {
      if (!name.startsWith("other ")) continue;
      const rest = others.get(name) ?? { step, in: 0, out: 0 };
      rest[side] += one.persons;
      others.set(name, rest);
    }
  }
  for (const [name, rest] of others) {
    nodes.set(name, { id: name, step: rest.step, name: t("others"), persons: Math.max(rest.in, rest.out) });
  }
  const used = new Set([...links.values()].flatMap((one) => [one.source, one.target]));
  return {
    nodes: [...nodes.values()].filter((one) => used.has(one.id) || nodes.size === 1),
    links: [...links.values()],
  };
}

function id(step: number, event: string): string {
  return `at ${step} ${event}`;
}
