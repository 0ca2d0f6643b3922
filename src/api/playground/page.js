// SPDX-License-Identifier: MIT
/* The page as a whole: its elements by id, what the person's device prefers, what is said to everyone. */

export const $ = (id) => document.getElementById(id);
export const narrow = matchMedia("(max-width: 47rem)");
export const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** For screen readers. */
export function say(text) {
  $("live").textContent = text;
}

let passingTimer = 0;
/** For everyone, for a moment. */
export function tell(text) {
  say(text);
  $("passing").textContent = text;
  $("passing").hidden = false;
  clearTimeout(passingTimer);
  passingTimer = setTimeout(hush, 3500);
}

/** What was told is not needed any more. */
export function hush() {
  $("passing").hidden = true;
}

export const dialogIsOpen = () => Boolean(document.querySelector("dialog[open]"));

export function scrollTo(element, block) {
  element.scrollIntoView({ block, behavior: calm.matches ? "auto" : "smooth" });
}

export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // without TLS there is no clipboard but this
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("not allowed");
}
