/** A time series, drawn by uPlot in the page's own colours. */
import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import uPlot from "uplot";
import { language } from "../words";
import { decimal, locale, short } from "../state/format";
import { theme } from "../state/theme";
import { between, endOfTimes, useAnnotations } from "../state/annotations";
import { Marks, drawMarks } from "./marks";

export interface Line {
  title: string;
  values: (number | null)[];
  /** Drawn thin and dotted: what another line is compared to. */
  faint?: boolean;
}

const COLOURS = 6;

export function Chart({
  times,
  lines,
  label,
  height = 200,
  bars = false,
  incomplete,
  timeZone,
}: {
  /** Seconds since 1970, ascending. */
  times: number[];
  lines: Line[];
  label: string;
  height?: number;
  bars?: boolean;
  /** Which values may still change: they are drawn apart, dashed or pale. */
  incomplete?: boolean[];
  /** The time zone whose days are on the axis; by default the reader's. */
  timeZone?: string;
}): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const end = endOfTimes(times);
  const marks = between(useAnnotations(), times[0] ?? 0, end);
  const marked = useRef(marks);
  marked.current = marks;
  const titles = lines.map((one) => one.title).join("|");
  const shape = `${titles} ${height} ${bars} ${theme.value} ${language.value} ${timeZone}`;
  const drawn = useRef(lines);
  drawn.current = lines;
  const data = [
    times,
    ...lines.map((line) => settled(line.values, incomplete)),
    ...lines.map((line) => unsettled(line.values, incomplete, bars)),
  ] as uPlot.AlignedData;

  useEffect(() => {
    const within = place.current;
    if (!within) return;
    const paint = getComputedStyle(within);
    const colour = (name: string) => paint.getPropertyValue(name).trim();
    const colourOf = (at: number) =>
      colour(at % COLOURS === 0 ? "--accent" : `--line-${at % COLOURS}`);
    const width = (line: Line) => (line.faint ? 1 : 1.5);
    const paths = bars ? { paths: uPlot.paths.bars?.({ size: [0.7, 40], radius: 0.15 }) } : {};
    const series = lines.map((line, at): uPlot.Series => ({
      label: line.title,
      stroke: colourOf(at),
      fill: bars ? colourOf(at) : at === 0 && lines.length < 3 ? colour("--accent-wash") : undefined,
      width: width(line),
      dash: line.faint ? [2, 3] : undefined,
      points: { show: line.values.length === 1, size: 6 },
      // The series has only what is settled; the legend says the figure whichever it is.
      value: (_, __, ___, place) => (place === null ? "" : decimal(drawn.current[at]?.values[place])),
      ...paths,
    }));
    const later = lines.map((line, at): uPlot.Series => ({
      class: "apart",
      stroke: colourOf(at),
      fill: bars ? colour("--accent-soft") : undefined,
      width: width(line),
      dash: [5, 4],
      points: { show: false },
      ...paths,
    }));
    const axis: uPlot.Axis = {
      stroke: colour("--muted"),
      font: `11px ${paint.fontFamily}`,
      grid: { stroke: colour("--rule"), width: 1 },
      ticks: { show: false },
    };
    const made = new uPlot(
      {
        width: within.clientWidth,
        height,
        padding: [8, 22, 0, 0],
        legend: { show: lines.length > 1, live: true },
        cursor: { points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
        plugins: [drawMarks(() => marked.current, () => colour("--muted"))],
        scales: { x: { time: true, range: bars ? spread : undefined }, y: { range: (_, low, high) => range(low, high) } },
        ...(timeZone ? { tzDate: (at) => uPlot.tzDate(new Date(at * 1_000), timeZone) } : {}),
        series: [{ value: (_, value) => (value === null ? "" : moment(value, timeZone)) }, ...series, ...later],
        axes: [
          { ...axis, grid: { show: false }, size: 26, gap: 4, space: 70, values: (_, at) => at.map(stamp(times, timeZone)) },
          { ...axis, size: 46, values: (_, at) => at.map((one) => short(one)) },
        ],
      },
      data,
      within,
    );
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: within.clientWidth, height }));
    sized.observe(within);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData(data);
  }, [times, lines, incomplete]);

  const drawnMarks = marks.map((one) => `${one.id} ${one.revision}`).join("|");
  useEffect(() => plot.current?.redraw(false), [drawnMarks]);

  return (
    <>
      <div ref={place} class="chart" role="img" aria-label={label} style={{ minHeight: `${height}px` }} />
      <Marks marks={marks} timeZone={timeZone} />
    </>
  );
}

/** The times that the axis has: half a bar more on either side. */
function spread(plot: uPlot, low: number, high: number): [number, number] {
  const bars = plot.data[0].length;
  const half = bars > 1 ? (high - low) / (bars - 1) / 2 : 43_200;
  return [low - half, high + half];
}

function range(low: number | null, high: number | null): [number, number] {
  const most = high ?? 1;
  return [Math.min(0, low ?? 0), most > 0 ? most * 1.08 : 1];
}

/** The values that do not change any more. */
function settled(values: (number | null)[], incomplete: boolean[] | undefined): (number | null)[] {
  return incomplete ? values.map((value, at) => (incomplete[at] ? null : value)) : values;
}

/** The values that may still change; of a line with those beside them, so that they are joined. */
function unsettled(
  values: (number | null)[],
  incomplete: boolean[] | undefined,
  bars: boolean,
): (number | null)[] {
  return values.map((value, at) => {
    const joined = !bars && (incomplete?.[at - 1] || incomplete?.[at + 1]);
    return incomplete?.[at] || joined ? value : null;
  });
}

function moment(seconds: number, timeZone?: string): string {
  return new Intl.DateTimeFormat(locale(), {
    dateStyle: "medium",
    timeStyle: "short",
    timeZone,
  }).format(seconds * 1_000);
}

/** The text below the axis: the hour within some days, else the day. */
function stamp(times: number[], timeZone?: string): (seconds: number) => string {
  const span = (times.at(-1) ?? 0) - (times[0] ?? 0);
  const format = new Intl.DateTimeFormat(
    locale(),
    span < 2 * 86_400
      ? { hour: "2-digit", minute: "2-digit", timeZone }
      : span < 300 * 86_400
        ? { day: "numeric", month: "short", timeZone }
        : { month: "short", year: "2-digit", timeZone },
  );
  return (seconds) => format.format(seconds * 1_000);
}
