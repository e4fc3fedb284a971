/** Requests to the query service, typed by its OpenAPI document. */
import type { components, paths } from "../openapi";

export type Schemas = components["schemas"];

/** An error that the service answered with, or `code` "away" if it did not answer. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly field = "",
    readonly status = 0,
  ) {
    super(message);
  }
}

/** What a failure says, with the field that it is about. */
export function messageOf(failure: unknown): string {
  const said = failure instanceof Error ? failure.message : String(failure);
  const field = failure instanceof ApiError ? failure.field : "";
  return field && !said.startsWith(field) ? `${field}: ${said}` : said;
}

type Json<R> = R extends { content: { "application/json": infer B } } ? B : undefined;
type Answer<O> = O extends { responses: infer R }
  ? R extends { 200: infer B }
    ? Json<B>
    : R extends { 201: infer B }
      ? Json<B>
      : R extends { 202: infer B }
        ? Json<B>
        : undefined
  : never;
type Query<O> = O extends { parameters: { query?: infer Q } } ? Q : never;
type Body<O> = O extends { requestBody: { content: { "application/json": infer B } } } ? B : never;
type Having<M extends string> = {
  [P in keyof paths]: paths[P] extends { [K in M]: { responses: unknown } } ? P : never;
}[keyof paths] &
  string;
type Places = Record<string, string>;

export function get<P extends Having<"get">>(
  path: P,
  places: Places = {},
  query?: Query<paths[P] extends { get: infer O } ? O : never>,
): Promise<Answer<paths[P] extends { get: infer O } ? O : never>> {
  return send("GET", path, places, query as object | undefined) as never;
}

export function post<P extends Having<"post">>(
  path: P,
  places: Places,
  body: Body<paths[P] extends { post: infer O } ? O : never>,
  signal?: AbortSignal,
): Promise<Answer<paths[P] extends { post: infer O } ? O : never>> {
  return send("POST", path, places, undefined, body, signal) as never;
}

export function put<P extends Having<"put">>(
  path: P,
  places: Places,
  body: Body<paths[P] extends { put: infer O } ? O : never>,
): Promise<Answer<paths[P] extends { put: infer O } ? O : never>> {
  return send("PUT", path, places, undefined, body) as never;
}

export function remove<P extends Having<"delete">>(path: P, places: Places): Promise<undefined> {
  return send("DELETE", path, places) as never;
}

let credential = "";

/** Ask with a secret in place of the session; `ask` sends one request before it waits. */
export function withCredential<T>(secret: string, ask: () => Promise<T>): Promise<T> {
  credential = secret;
  try {
    return ask();
  } finally {
    credential = "";
  }
}

const TIMEOUT_MS = 30_000;

async function send(
  method: string,
  path: string,
  places: Places,
  query?: object,
  body?: unknown,
  cancelled?: AbortSignal,
): Promise<unknown> {
  const secret = credential;
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) =>
    encodeURIComponent(places[name] ?? ""),
  );
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") asked.set(name, String(value));
  }
  const address = asked.size ? `${filled}?${asked}` : filled;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let answer: Response;
  try {
    answer = await fetch(address, {
      method,
      credentials: secret ? "omit" : "same-origin",
      signal: cancelled ? AbortSignal.any([cancelled, timeout]) : timeout,
      headers: {
        ...(secret ? { authorization: `Bearer ${secret}` } : {}),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    if (cancelled?.aborted) throw new ApiError("cancelled", "the request was cancelled");
    throw new ApiError("away", "the service does not answer");
  }
  if (answer.status === 204) return undefined;
  const said: unknown = await answer.json().catch(() => undefined);
  if (answer.ok) return said;
  const error = (said as { error?: { code: string; message: string; field?: string } })?.error;
  if (answer.status === 401 && path !== "/session" && !secret) signedOut?.();
  throw new ApiError(
    error?.code ?? "away",
    error?.message ?? `the service answers ${answer.status}`,
    error?.field ?? "",
    answer.status,
  );
}

let signedOut: (() => void) | undefined;

/** Call `then` when the service says that the session has ended. */
export function onSignedOut(then: () => void): void {
  signedOut = then;
}
