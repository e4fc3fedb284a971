/** Light or dark: as the system has it, unless the reader has chosen. */
import { effect, signal } from "@preact/signals";

export type Theme = "light" | "dark";

const KEPT = "avila.theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const kept = localStorage.getItem(KEPT);
const chosen = signal<Theme | null>(kept === "light" || kept === "dark" ? kept : null);

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
  localStorage.setItem(KEPT, chosen.value);
  theme.value = chosen.value;
}
