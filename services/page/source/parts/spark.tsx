/** A line without axes: which way a number has gone. */
import type { JSX } from "preact";

const WIDTH = 120;
const HEIGHT = 28;

export function Spark({ values }: { values: number[] }): JSX.Element | null {
  if (values.length < 2) return null;
  const most = Math.max(...values, 1);
  const points = values.map((value, at) => {
    const x = (at / (values.length - 1)) * WIDTH;
    return `${x.toFixed(1)},${(HEIGHT - 2 - (value / most) * (HEIGHT - 4)).toFixed(1)}`;
  });
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="spark-area" d={`M0,${HEIGHT} L${points.join(" L")} L${WIDTH},${HEIGHT}Z`} />
      <path class="spark-line" d={`M${points.join(" L")}`} />
    </svg>
  );
}
