/** The page: its parts are started once, and the open page is drawn. */
import { render } from "preact";
import type { JSX } from "preact";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/figures.css";
import "./styles/forms.css";
import "./styles/boards.css";
import { startDefinitions } from "./state/definitions";
import { startClock, startHealth } from "./state/health";
import { startLive } from "./state/live";
import { readSession, session } from "./state/session";
import { route } from "./state/router";
import { Loading } from "./parts/notes";
import { Shell } from "./parts/shell";
import { SignIn } from "./pages/signin";
import { Overview } from "./pages/overview";
import { Dashboards } from "./pages/dashboards";
import { Shared, sharedId } from "./pages/shared";
import { Funnels } from "./pages/funnels";
import { Segments } from "./pages/segments";
import { Cohorts } from "./pages/cohorts";
import { Metrics } from "./pages/metrics";
import { Predictions } from "./pages/predictions";
import { Feed } from "./pages/feed";
import { Definitions } from "./pages/definitions";
import { Rejected } from "./pages/rejected";
import { System } from "./pages/system";
import { Sessions } from "./pages/sessions";

const PAGES: Record<string, () => JSX.Element | null> = {
  overview: Overview,
  dashboards: Dashboards,
  funnels: Funnels,
  segments: Segments,
  cohorts: Cohorts,
  metrics: Metrics,
  predictions: Predictions,
  feed: Feed,
  definitions: Definitions,
  rejected: Rejected,
  system: System,
  sessions: Sessions,
};

function App(): JSX.Element {
  if (session.value === undefined) return <Loading />;
  if (session.value === null) return <SignIn />;
  const { page, id, more } = route.value;
  const Page = PAGES[page] ?? Overview;
  return (
    <Shell>
      <Page key={`${page}/${id}/${more}`} />
    </Shell>
  );
}

async function start(): Promise<void> {
  try {
    await readSession();
  } catch {
    session.value = null;
  }
  startLive();
  startDefinitions();
  startHealth();
}

const place = document.getElementById("app");
if (place) render(sharedId() ? <Shared /> : <App />, place);
if (sharedId()) startClock();
else void start();
