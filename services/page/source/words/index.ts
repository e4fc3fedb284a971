/** The page's words, in the language that its reader has chosen. */
import { signal } from "@preact/signals";
import { en } from "./en";
import { pt } from "./pt";

export type Word = keyof typeof en;
export type Language = "en" | "pt";

const DICTIONARIES: Record<Language, Record<Word, string>> = { en, pt };
const KEPT = "avila.language";

export const language = signal<Language>(preferred());

function preferred(): Language {
  const kept = localStorage.getItem(KEPT);
  if (kept === "en" || kept === "pt") return kept;
  return navigator.language.toLowerCase().startsWith("pt") ? "pt" : "en";
}

export function choose(next: Language): void {
  localStorage.setItem(KEPT, next);
  language.value = next;
}

/** The text for a word, with `{name}` replaced by what `values` has for it. */
export function t(word: Word, values: Record<string, string | number> = {}): string {
  return DICTIONARIES[language.value][word].replace(/\{(\w+)\}/g, (_, name: string) =>
    String(values[name] ?? ""),
  );
}
