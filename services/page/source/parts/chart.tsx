/** A time series, drawn by uPlot in the page's own colours. */
import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import uPlot from "uplot";
import { language } from "../words";
import { decimal, short } from "../state/format";
import { theme } from "../state/theme";

export interface Line {
  title: string;
  values: (number | null)[];
}

export function Chart({
  times,
  lines,
  label,
  height = 200,
  bars = false,
}: {
  /** Seconds since 1970, ascending. */
  times: number[];
  lines: Line[];
  label: string;
  height?: number;
  bars?: boolean;
}): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = `${lines.map((one) => one.title).join("|")} ${height} ${theme.value} ${language.value}`;

  useEffect(() => {
    const within = place.current;
    if (!within) return;
    const paint = getComputedStyle(within);
    const colour = (name: string) => paint.getPropertyValue(name).trim();
    const series = lines.map((line, at): uPlot.Series => ({
      label: line.title,
      stroke: at === 0 ? colour("--accent") : colour(`--line-${at}`),
      fill: at === 0 ? colour("--accent-wash") : undefined,
      width: 1.5,
      points: { show: false },
      value: (_, value) => decimal(value),
      ...(bars ? { paths: uPlot.paths.bars?.({ size: [0.7, 40], radius: 0.15 }) } : {}),
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
        padding: [8, 8, 0, 0],
        legend: { show: lines.length > 1, live: true },
        cursor: { points: { size: 6 }, drag: { setScale: false, x: false, y: false } },
        scales: { x: { time: true }, y: { range: (_, low, high) => range(low, high) } },
        series: [{ value: (_, value) => (value === null ? "" : moment(value)) }, ...series],
        axes: [
          { ...axis, grid: { show: false }, size: 26, gap: 4, space: 70, values: (_, at) => at.map(stamp(times)) },
          { ...axis, size: 46, values: (_, at) => at.map((one) => short(one)) },
        ],
      },
      [times, ...lines.map((line) => line.values)] as uPlot.AlignedData,
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
    plot.current?.setData([times, ...lines.map((line) => line.values)] as uPlot.AlignedData);
  }, [times, lines]);

  return <div ref={place} class="chart" role="img" aria-label={label} style={{ minHeight: `${height}px` }} />;
}

function range(low: number | null, high: number | null): [number, number] {
  const most = high ?? 1;
  return [Math.min(0, low ?? 0), most > 0 ? most * 1.08 : 1];
}

function moment(seconds: number): string {
  return new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "short" }).format(
    seconds * 1_000,
  );
}

/** What stands below the axis: the hour within some days, else the day. */
function stamp(times: number[]): (seconds: number) => string {
  const span = (times.at(-1) ?? 0) - (times[0] ?? 0);
  const format = new Intl.DateTimeFormat(
    language.value,
    span < 2 * 86_400
      ? { hour: "2-digit", minute: "2-digit" }
      : span < 300 * 86_400
        ? { day: "numeric", month: "short" }
        : { month: "short", year: "2-digit" },
  );
  return (seconds) => format.format(seconds * 1_000);
}
