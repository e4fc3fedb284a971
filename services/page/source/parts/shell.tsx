/** What surrounds every page: where one is, which project is open, and whether figures are live. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { away, now, oldSince } from "../state/health";
import { connected } from "../state/live";
import { age, time } from "../state/format";
import { address, go, route } from "../state/router";
import { project, projects, session, signOut } from "../state/session";
import { switchTheme, theme } from "../state/theme";
import { choose, language, t } from "../words";
import type { Word } from "../words";
import { Icon } from "./icons";
import type { IconName } from "./icons";

const GROUPS: { title?: Word; pages: IconName[] }[] = [
  { pages: ["overview", "dashboards"] },
  { title: "group_analysis", pages: ["explore", "funnels", "segments", "cohorts", "metrics", "predictions"] },
  { title: "group_alerts", pages: ["alerts", "subscriptions"] },
  { title: "group_data", pages: ["persons", "feed", "definitions", "plans", "rejected"] },
  { title: "group_system", pages: ["system", "keys", "sessions"] },
];

export function Shell({ children }: { children: ComponentChildren }): JSX.Element {
  const [open, setOpen] = useState(false);
  const { page } = route.value;
  const main = useRef<HTMLElement>(null);
  const title = t(`page_${page}` as Word) || t("page_overview");
  useEffect(() => {
    document.title = `${title} · ${project.value} · Avila`;
    document.documentElement.lang = language.value;
    setOpen(false);
  }, [title, project.value, language.value, route.value]);

  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        {t("skip")}
      </a>
      <header class="topbar">
        <button
          type="button"
          class="quiet"
          aria-label={t("menu")}
          aria-expanded={open}
          onClick={() => setOpen(!open)}
        >
          <Icon name={open ? "close" : "menu"} />
        </button>
        <Brand />
        <LiveMark />
      </header>
      <nav class={open ? "side open" : "side"} aria-label={t("menu")}>
        <div class="side-head">
          <Brand />
        </div>
        <ProjectChoice />
        {GROUPS.map((group, at) => (
          <div class="group" key={at}>
            {group.title && <h2>{t(group.title)}</h2>}
            <ul>
              {group.pages.map((one) => (
                <li key={one}>
                  <a
                    href={address(project.value, one)}
                    aria-current={page === one ? "page" : undefined}
                  >
                    <Icon name={one} />
                    {t(`page_${one}` as Word)}
                  </a>
                </li>
              ))}
            </ul>
          </div>
        ))}
        <div class="side-foot">
          <LiveMark />
          <div class="switches">
            <button type="button" class="quiet" onClick={switchTheme}>
              {theme.value === "dark" ? t("light") : t("dark")}
            </button>
            <button
              type="button"
              class="quiet"
              lang={language.value === "en" ? "pt" : "en"}
              onClick={() => void choose(language.value === "en" ? "pt" : "en")}
            >
              {language.value === "en" ? "Português" : "English"}
            </button>
            <button type="button" class="quiet" onClick={() => void signOut()}>
              {t("sign_out")}
            </button>
          </div>
          {session.value && <p class="role">{t(`role_${session.value.role}`)}</p>}
        </div>
      </nav>
      <main id="main" ref={main} tabIndex={-1}>
        <Away />
        {children}
      </main>
    </div>
  );
}

function Brand(): JSX.Element {
  return (
    <a class="brand" href={address(project.value, "overview")}>
      <svg viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="7" />
        <path d="M8 23V19M13.3 23V14M18.6 23V16.5M24 23V9" />
      </svg>
      Avila
    </a>
  );
}

function ProjectChoice(): JSX.Element {
  const names = [...new Set([...projects.value, project.value])].sort();
  return (
    <label class="project">
      <span class="sr">{t("project")}</span>
      <select value={project.value} onChange={(event) => go(event.currentTarget.value, "overview")}>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

function LiveMark(): JSX.Element {
  const live = connected.value && away.value.size === 0;
  return (
    <span class={live ? "mark on" : "mark"}>
      <i aria-hidden="true" />
      {live ? t("live") : t("not_live")}
    </span>
  );
}

/** What is away, and how old the figures are for it. */
function Away(): JSX.Element | null {
  const parts = [...away.value.keys()];
  if (!parts.length) return null;
  const since = oldSince.value;
  return (
    <div class="away" role="status">
      <strong>{parts.map((part) => t(`away_${part}`)).join(" ")}</strong>{" "}
      {since > 0 && t("as_of", { time: time(since), age: age(now.value - since) })}
    </div>
  );
}

export function Head({
  title,
  note,
  children,
  back,
}: {
  title: string;
  note?: ComponentChildren;
  children?: ComponentChildren;
  back?: string;
}): JSX.Element {
  return (
    <div class="head">
      <div>
        {back && (
          <a class="back" href={back}>
            <Icon name="back" />
            {t("back")}
          </a>
        )}
        <h1>{title}</h1>
        {note && <p class="note">{note}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </div>
  );
}
