/** Light or dark: as the system has it, unless the reader has chosen. */
import { effect, signal } from "@preact/signals";
import { keep, kept } from "./kept";

export type Theme = "light" | "dark";

const KEPT = "avila.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const before = kept(KEPT);
const chosen = signal<Theme | null>(before === "light" || before === "dark" ? before : null);

export const theme = signal<Theme>(present());

function present(): Theme {
  return chosen.value ?? (system.matches ? "dark" : "light");
}

system.addEventListener("change", () => {
  theme.value = present();
});
effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

export function switchTheme(): void {
  chosen.value = theme.value === "dark" ? "light" : "dark";
  keep(KEPT, chosen.value);
  theme.value = chosen.value;
}
