/** How persons go from one event to the next: a Sankey diagram, laid out by d3-sankey. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import { sankey, sankeyLinkHorizontal } from "d3-sankey";
import { count } from "../state/format";

export interface Node {
  id: string;
  step: number;
  name: string;
  persons: number;
}
export interface Link {
  source: string;
  target: string;
  persons: number;
}

const MIN_STEP = 132;
const MAX_STEP = 200;
// Beside the last column there are its names.
const LAST = 130;
const NODE_WIDTH = 10;

export function Sankey({
  nodes,
  links,
  label,
  onNode,
}: {
  nodes: Node[];
  links: Link[];
  label: string;
  onNode?: (node: Node) => void;
}): JSX.Element | null {
  const first = Math.min(...nodes.map((one) => one.step));
  const columns = new Set(nodes.map((one) => one.step)).size;
  const most = Math.max(...[...counted(nodes).values()], 1);
  const place = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState(0);
  useLayoutEffect(() => {
    const within = place.current;
    if (!within) return;
    const sized = new ResizeObserver(() => setRoom(within.clientWidth - 8));
    sized.observe(within);
    return () => sized.disconnect();
  }, []);
  const gaps = Math.max(1, columns - 1);
  const step = Math.min(Math.max((room - LAST) / gaps, MIN_STEP), MAX_STEP);
  const width = gaps * step + LAST;
  const height = Math.min(Math.max(most * 46, 180), 560);
  const drawn = useMemo(() => {
    const layout = sankey<Node, Link>()
      .nodeId((one) => one.id)
      .nodeAlign((one) => one.step - first)
      .nodeWidth(NODE_WIDTH)
      .nodePadding(18)
      .nodeSort((one, other) => other.persons - one.persons)
      .extent([
        [0, 14],
        [width - LAST, height - 6],
      ]);
    return layout({
      nodes: nodes.map((one) => ({ ...one })),
      links: links.map((one) => ({ ...one, value: one.persons })),
    });
  }, [nodes, links, width, height]);
  const path = sankeyLinkHorizontal<Node, Link>();
  return (
    <div ref={place} class="scroll sankey" tabIndex={0} role="region" aria-label={label}>
      <svg viewBox={`0 0 ${width} ${height}`} width={width} height={height} aria-hidden={!onNode}>
        <g class="links">
          {drawn.links.map((one) => {
            const [from, to] = [one.source as Node, one.target as Node];
            return (
              <path key={`${from.id} ${to.id}`} d={path(one) ?? ""} stroke-width={Math.max(1, one.width ?? 0)}>
                <title>{`${from.name} → ${to.name}: ${count(one.value)}`}</title>
              </path>
            );
          })}
        </g>
        {drawn.nodes.map((one) => {
          const [x0 = 0, x1 = 0, y0 = 0, y1 = 0] = [one.x0, one.x1, one.y0, one.y1];
          const text = `${one.name}: ${count(one.persons)}`;
          const open = () => onNode?.(one);
          return (
            <g
              key={one.id}
              class={onNode ? "node opens" : "node"}
              {...(onNode
                ? {
                    role: "button",
                    tabindex: 0, // of an SVG element, whose attributes know upper and lower case
                    "aria-label": text,
                    onClick: open,
                    onKeyDown: (event: KeyboardEvent) => {
                      if (event.key !== "Enter" && event.key !== " ") return;
                      event.preventDefault();
                      open();
                    },
                  }
                : {})}
            >
              <title>{text}</title>
              <rect x={x0} y={y0} width={x1 - x0} height={Math.max(1, y1 - y0)} rx="2" />
              <text x={x1 + 6} y={(y0 + y1) / 2} dy="0.35em">
                {shortened(one.name, Math.floor(step / 10))} <tspan class="persons-of">{count(one.persons)}</tspan>
              </text>
            </g>
          );
        })}
      </svg>
    </div>
  );
}

function counted(nodes: Node[]): Map<number, number> {
  const found = new Map<number, number>();
  for (const one of nodes) found.set(one.step, (found.get(one.step) ?? 0) + 1);
  return found;
}

function shortened(name: string, most: number): string {
  return name.length > most ? `${name.slice(0, most - 1)}…` : name;
}
