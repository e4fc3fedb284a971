/** The address as a signal: `#/<project>/<page>/<id>/<more>`. */
import { computed, signal } from "@preact/signals";

export interface Route {
  project: string;
  page: string;
  id: string;
  more: string;
}

const hash = signal(location.hash);
addEventListener("hashchange", () => {
  if (hash.value === location.hash) return;
  hash.value = location.hash;
  scrollTo(0, 0);
});

export const route = computed<Route>(() => {
  const [project = "", page = "", id = "", more = ""] = hash.value
    .replace(/^#\/?/, "")
    .split("/")
    .map(decoded);
  return { project, page: page || "overview", id, more };
});

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function address(project: string, ...parts: string[]): string {
  return `#/${[project, ...parts].map(encodeURIComponent).join("/")}`;
}

/** Keep the state of the open page in its address, without a new entry in the browser's history. */
export function keep(place: string): void {
  history.replaceState(null, "", place);
  hash.value = place;
}

export function go(project: string, ...parts: string[]): void {
  location.hash = address(project, ...parts);
}

/** The id of the link that the address is; "" if the page is opened by itself. */
export function sharedId(): string {
  return /^\/shared\/([A-Za-z0-9._-]{1,64})$/.exec(location.pathname)?.[1] ?? "";
}
