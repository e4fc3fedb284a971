/** The page's words, in the language that its reader has chosen. */
import { signal } from "@preact/signals";
import { keep, kept } from "../state/kept";
import { boardsEn } from "./boards-en";
import { boardsPt } from "./boards-pt";
import { en } from "./en";
import { pt } from "./pt";

export type Word = keyof typeof en | keyof typeof boardsEn;
export type Language = "en" | "pt";

const DICTIONARIES: Record<Language, Record<Word, string>> = {
  en: { ...en, ...boardsEn },
  pt: { ...pt, ...boardsPt },
};
const KEPT = "avila.language";

export const language = signal<Language>(preferred());

function preferred(): Language {
  const before = kept(KEPT);
  if (before === "en" || before === "pt") return before;
  return navigator.language.toLowerCase().startsWith("pt") ? "pt" : "en";
}

export function choose(next: Language): void {
  keep(KEPT, next);
  language.value = next;
}

/** The text for a word, with `{name}` replaced by what `values` has for it. */
export function t(word: Word, values: Record<string, string | number> = {}): string {
  return DICTIONARIES[language.value][word].replace(/\{(\w+)\}/g, (_, name: string) =>
    String(values[name] ?? ""),
  );
}
