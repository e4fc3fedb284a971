import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { ApiError } from "../state/api";
import {
  endedByItself,
  provider,
  providerFailure,
  signIn,
  signInAtProvider,
} from "../state/session";
import { type Word, choose, language, t } from "../words";

const FAILURES: Record<string, Word> = {
  provider_away: "provider_away",
  provider_wrong: "provider_wrong",
  expired: "provider_expired",
  refused: "provider_refused",
  untrusted: "provider_untrusted",
  no_access: "provider_no_access",
  too_many: "too_many_attempts",
};

export function SignIn(): JSX.Element {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [trouble, setTrouble] = useState("");

  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setTrouble("");
    try {
      if (!(await signIn(token.trim()))) setTrouble(t("cookie_refused"));
    } catch (error) {
      const code = error instanceof ApiError ? error.code : "";
      if (code === "unauthorized") setTrouble(t("token_refused"));
      else if (code === "over_limit") setTrouble(t("too_many_attempts"));
      else if (code === "away") setTrouble(t("away_service"));
      else setTrouble(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };

  return (
    <main class="sign-in">
      <form onSubmit={(event) => void submit(event)}>
        <svg class="sign-mark" viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="7" />
          <path d="M8 23V19M13.3 23V14M18.6 23V16.5M24 23V9" />
        </svg>
        <h1>{t("sign_in_title")}</h1>
        <p class="note">{endedByItself.value ? t("session_ended") : t("sign_in_note")}</p>
        {providerFailure.value && (
          <p class="failed" role="alert">
            {t(FAILURES[providerFailure.value] ?? "provider_refused")}
          </p>
        )}
        {provider.value && (
          <>
            <button type="button" class="primary" autoFocus onClick={signInAtProvider}>
              {t("sign_in_with", { name: provider.value })}
            </button>
            <p class="where">{t("or_with_token")}</p>
          </>
        )}
        <label>
          {t("query_token")}
          <input
            type="password"
            name="token"
            autoComplete="current-password"
            spellcheck={false}
            placeholder="aqt_…"
            required
            autoFocus={!provider.value}
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
            aria-describedby="where"
          />
        </label>
        {trouble && (
          <p class="failed" role="alert">
            {trouble}
          </p>
        )}
        <button type="submit" class={provider.value ? "" : "primary"} disabled={busy || !token.trim()}>
          {t("sign_in")}
        </button>
        <p id="where" class="where">
          {t("token_where")} <code>cat .avila/query-token</code>
        </p>
        <button
          type="button"
          class="quiet"
          lang={language.value === "en" ? "pt" : "en"}
          onClick={() => void choose(language.value === "en" ? "pt" : "en")}
        >
          {language.value === "en" ? "Português" : "English"}
        </button>
      </form>
    </main>
  );
}
