/** The annotations of a chart: drawn as lines, listed below it, and made by a form. */
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import type uPlot from "uplot";
import { post, remove } from "../state/api";
import { type Annotation, annotations, linkOf, readAnnotations } from "../state/annotations";
import { moment } from "../state/format";
import { mayWrite, project } from "../state/session";
import { t } from "../words";
import { Confirm } from "./confirm";
import { Dialog } from "./dialog";
import { TextField } from "./fields";
import { SaveForm, useRun } from "./form";
import { freeId } from "./ids";
import { Failed } from "./notes";

const SHOWN = 5;

/** A plugin that draws a line at each annotation, numbered as in the list. */
export function drawMarks(marks: () => readonly Annotation[], colour: () => string): uPlot.Plugin {
  return {
    hooks: {
      draw: (plot) => {
        const { ctx, bbox } = plot;
        const scale = devicePixelRatio || 1;
        ctx.save();
        ctx.strokeStyle = ctx.fillStyle = colour();
        ctx.font = `600 ${10 * scale}px Inter, sans-serif`;
        ctx.textAlign = "center";
        ctx.lineWidth = scale;
        for (const [at, one] of marks().entries()) {
          const place = plot.valToPos(Date.parse(one.at) / 1_000, "x", true);
          const x = Math.min(Math.max(place, bbox.left), bbox.left + bbox.width);
          ctx.setLineDash([4 * scale, 3 * scale]);
          ctx.beginPath();
          ctx.moveTo(x, bbox.top + 6 * scale);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
          ctx.fillText(String(at + 1), x, bbox.top + 2 * scale);
        }
        ctx.restore();
      },
    },
  };
}

/** The list of a chart's annotations, and the button that adds one. */
export function Marks({ marks, timeZone }: { marks: readonly Annotation[]; timeZone?: string }): JSX.Element | null {
  const [open, setOpen] = useState(false);
  if (!marks.length && !mayWrite.value) return null;
  const first = Math.max(0, marks.length - SHOWN);
  return (
    <div class="marks">
      {marks.length > 0 && (
        <ol aria-label={t("annotations")}>
          {first > 0 && <li class="note">{t("annotations_more", { n: first })}</li>}
          {marks.slice(first).map((one, at) => (
            <li key={one.id}>
              <span class="mark-number">{first + at + 1}</span> <Said one={one} timeZone={timeZone} />
            </li>
          ))}
        </ol>
      )}
      {mayWrite.value && (
        <button type="button" class="quiet" onClick={() => setOpen(true)}>
          {t("annotate")}
        </button>
      )}
      {open && <Annotate marks={marks} onClose={() => setOpen(false)} />}
    </div>
  );
}

function Said({ one, timeZone }: { one: Annotation; timeZone?: string }): JSX.Element {
  const link = linkOf(one);
  return (
    <>
      <time dateTime={one.at}>{moment(one.at, timeZone)}</time> {one.text}
      {link && (
        <>
          {" "}
          <a class="link" href={link} target="_blank" rel="noopener noreferrer">
            {t("annotation_link_open")}
            <span class="sr"> {one.text}</span>
          </a>
        </>
      )}
    </>
  );
}

/** The form of an annotation, and the annotations of the chart, to take one away. */
function Annotate({ marks, onClose }: { marks: readonly Annotation[]; onClose: () => void }): JSX.Element {
  const places = { project: project.value };
  const [text, setText] = useState("");
  const [at, setAt] = useState(localNow);
  const [url, setUrl] = useState("");
  const { error, run } = useRun();
  const save = async () => {
    await post("/api/projects/{project}/annotations", places, {
      id: freeId(text, "annotation", annotations.value),
      text: text.trim(),
      at: new Date(at).toISOString(),
      url: url.trim(),
    });
    await readAnnotations();
    onClose();
  };
  const take = (id: string) =>
    run(async () => {
      await remove("/api/projects/{project}/annotations/{id}", { ...places, id });
      await readAnnotations();
    });
  return (
    <Dialog title={t("annotation_add")} onClose={onClose}>
      <p class="note">{t("annotation_note")}</p>
      <SaveForm label={t("annotation_add")} onSave={save}>
        <TextField label={t("annotation_text")} required max={1_000} value={text} onValue={setText} />
        <TextField type="datetime-local" label={t("annotation_at")} required value={at} onValue={setAt} />
        <TextField label={t("annotation_link")} max={2_000} value={url} onValue={setUrl} />
      </SaveForm>
      {error && <Failed message={error} />}
      {marks.length > 0 && (
        <ul class="links" aria-label={t("annotations")}>
          {marks.map((one) => (
            <li key={one.id}>
              <div>
                <Said one={one} />
              </div>
              <Confirm label={t("delete")} of={one.text} run={() => take(one.id)} />
            </li>
          ))}
        </ul>
      )}
    </Dialog>
  );
}

/** This minute, as a field of a local time has it. */
export function localNow(): string {
  return localTime(Date.now());
}

/** A time as a field of a local time has it, with its seconds if there are any. */
export function localTime(ms: number): string {
  const ahead = new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(ms - ahead).toISOString().slice(0, 19);
}
