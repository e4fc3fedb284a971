/** Who is signed in, and which project is open. */
import { computed, signal } from "@preact/signals";
import { type Schemas, get, onSignedOut, post, remove } from "./api";
import { keep as remember, kept } from "./kept";
import { keep, route } from "./router";

export const session = signal<Schemas["SessionResponse"] | null | undefined>(undefined);
export const projects = signal<string[]>([]);
export const endedByItself = signal(false);

/** The project in the address, or else the first one. */
export const project = computed(() => {
  const named = route.value.project;
  return named || projects.value.find((one) => one !== "default") || projects.value[0] || "default";
});
export const mayWrite = computed(
  () =>
    session.value?.grants.some(
      (one) =>
        (one.project_id === "*" || one.project_id === project.value) &&
        one.scopes.includes("write"),
    ) ?? false,
);
/** The name of the identity provider at which people may sign in, if there is one. */
export const provider = signal<string | null>(null);
/** Why signing in there failed, in the service's word for it. */
export const providerFailure = signal("");

const PLACE = "avila.sign_in_from";

/** Go to the provider; whoever comes back continues at the address of now. */
export function signInAtProvider(): void {
  remember(PLACE, location.hash);
  location.assign("/session/begin");
}

/** Continue where somebody left for the provider, if this is the way back from there. */
export function returnFromProvider(): void {
  const failed = /^#sign-in=([a-z_]{1,30})$/.exec(location.hash)?.[1] ?? "";
  const place = kept(PLACE) ?? "";
  if (!failed && !place) return;
  providerFailure.value = failed;
  remember(PLACE, "");
  if (failed || !location.hash) keep(place.startsWith("#/") ? place : "#/");
}

export async function readSession(): Promise<void> {
  const found = await get("/session");
  if (session.value && !found.session) endedByItself.value = true;
  provider.value = found.provider ?? null;
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
