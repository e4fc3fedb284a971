/** Who is signed in, and which project is open. */
import { computed, signal } from "@preact/signals";
import { type Schemas, get, onSignedOut, post, remove } from "./api";
import { route } from "./router";

export const session = signal<Schemas["SessionResponse"] | null | undefined>(undefined);
export const projects = signal<string[]>([]);
export const endedByItself = signal(false);

/** The project in the address, or else the first one. */
export const project = computed(() => {
  const named = route.value.project;
  return named || projects.value.find((one) => one !== "default") || projects.value[0] || "default";
});
export const mayWrite = computed(() => session.value?.scopes.includes("write") ?? false);

export async function readSession(): Promise<void> {
  const found = await get("/session");
  if (session.value && !found.session) endedByItself.value = true;
  projects.value = found.projects;
  session.value = found.session;
}

/** Sign in; throws an `ApiError`, of code "no_cookie" if the browser has not kept the session. */
export async function signIn(token: string): Promise<boolean> {
  await post("/session", {}, { token });
  await readSession();
  endedByItself.value = false;
  return session.value !== null;
}

export async function signOut(): Promise<void> {
  await remove("/session", {});
  session.value = null;
}

onSignedOut(() => {
  endedByItself.value = session.value !== null;
  session.value = null;
});
