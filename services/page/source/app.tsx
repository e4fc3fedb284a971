/** The page: its parts are started once, and the open page is drawn. */
import { render } from "preact";
import type { JSX } from "preact";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/figures.css";
import "./styles/forms.css";
import "./styles/boards.css";
import "./styles/explore.css";
import { startDefinitions } from "./state/definitions";
import { startClock, startHealth } from "./state/health";
import { startLive } from "./state/live";
import { readSession, returnFromProvider, session } from "./state/session";
import { route, sharedId } from "./state/router";
import { loadWords } from "./words";
import { Loading } from "./parts/notes";
import { Loaded, PageOf } from "./parts/page-of";
import { Shell } from "./parts/shell";

const loadSignIn = async () => (await import("./pages/signin")).SignIn;

function App(): JSX.Element {
  if (session.value === undefined) return <Loading />;
  if (session.value === null) return <Loaded name="signin" load={loadSignIn} />;
  const { page, id, more } = route.value;
  // What a page keeps of itself in the address is JSON: it follows that by itself.
  const part = more.startsWith("{") ? "" : more;
  return (
    <Shell>
      <PageOf key={`${page}/${id}/${part}`} page={page} />
    </Shell>
  );
}

async function start(): Promise<void> {
  await loadWords();
  const place = document.getElementById("app");
  const link = sharedId();
  if (link) {
    const { Shared } = await import("./pages/shared");
    if (place) render(<Shared id={link} />, place);
    startClock();
    return;
  }
  returnFromProvider();
  if (place) render(<App />, place);
  try {
    await readSession();
  } catch {
    session.value = null;
  }
  startLive();
  startDefinitions();
  startHealth();
}

void start();
