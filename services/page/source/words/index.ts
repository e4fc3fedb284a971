/** The page's words, in the language that its reader has chosen. */
import { signal } from "@preact/signals";
import { keep, kept } from "../state/kept";
import type { en } from "./en";

export type Word = keyof typeof en;
export type Language = "en" | "pt";

type Dictionary = Record<Word, string>;
const DICTIONARIES: Record<Language, () => Promise<Dictionary>> = {
  en: async () => (await import("./en")).en,
  pt: async () => (await import("./pt")).pt,
};
const KEPT = "avila.language";

export const language = signal<Language>(preferred());

function preferred(): Language {
  const before = kept(KEPT);
  if (before === "en" || before === "pt") return before;
  return navigator.language.toLowerCase().startsWith("pt") ? "pt" : "en";
}

const dictionaries: Partial<Record<Language, Dictionary>> = {};

/** Load the words of the chosen language: nothing can be drawn before. */
export async function loadWords(of: Language = language.peek()): Promise<void> {
  dictionaries[of] ??= await DICTIONARIES[of]();
}

/** Speak another language from now on; once its words are loaded. */
export async function choose(next: Language): Promise<void> {
  await loadWords(next);
  keep(KEPT, next);
  language.value = next;
}

/** The text for a word, with `{name}` replaced by what `values` has for it. */
export function t(word: Word, values: Record<string, string | number> = {}): string {
  return (dictionaries[language.value]?.[word] ?? word).replace(/\{(\w+)\}/g, (_, name: string) =>
    String(values[name] ?? ""),
  );
}
