// SPDX-License-Identifier: MIT
/* Light, dark, or as the system has it. */
import { $ } from "./page.js";
import { memory } from "./storage.js";

const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const THEMES = Object.keys(NAMES);

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme-text").textContent = NAMES[theme];
  $("theme-button").setAttribute("aria-label", `Theme: ${theme === "auto" ? "as the system has it" : theme}`);
}

export function setUpTheme() {
  const kept = memory.get("theme");
  setTheme(THEMES.includes(kept) ? kept : "auto");
  $("theme-button").addEventListener("click", () => {
    const now = THEMES.indexOf(document.documentElement.dataset.theme);
    const next = THEMES[(now + 1) % THEMES.length];
    setTheme(next);
    memory.set("theme", next);
  });
}
