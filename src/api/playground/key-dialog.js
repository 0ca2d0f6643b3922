// SPDX-License-Identifier: MIT
/* The panel that asks for the key, and tells what it has used. */
import { usageOf } from "./api.js";
import { signal } from "./helpers.js";
import { key, restoreKey } from "./key.js";
import { $, say, tell } from "./page.js";
import { forgetAllPieces } from "./pieces.js";
import { setPrices } from "./sizes.js";
import { memory, shelf } from "./storage.js";
import { number } from "./text.js";

export const keyAccepted = signal();

export function askForKey(problem = "") {
  const known = Boolean(key.value);
  $("key-title").textContent = known ? "Your key" : "Your key, please";
  $("key-intro").hidden = known;
  $("key").value = key.value;
  $("key-forget").hidden = $("key-close").hidden = !known;
  $("key-use").hidden = known; // until another one is typed
  $("usage").hidden = true;
  showProblem(problem);
  if (!$("key-dialog").open) $("key-dialog").showModal();
  $("key").focus();
  if (known) showUsage().catch((error) => showProblem(error.message));
}

function showProblem(problem) {
  $("key-error").textContent = problem;
  $("key").setAttribute("aria-invalid", String(Boolean(problem)));
  if (problem) say(problem);
}

async function useKey(event) {
  event.preventDefault();
  const value = $("key").value.trim();
  $("key-use").disabled = true;
  try {
    if (!value) throw new Error("Paste the key here.");
    if (!/^[\x21-\x7e]+$/.test(value)) throw new Error("A key has no spaces or accents. Copy it once more.");
    await showUsage(value);
    const first = !key.value;
    key.accept(value);
    showProblem("");
    $("key-dialog").close();
    if (first) tell("The key works.");
    keyAccepted();
    $("prompt").focus();
  } catch (error) {
    showProblem(error.message);
    $("key").focus();
  } finally {
    $("key-use").disabled = false;
  }
}

/** Also the prices, which the desk shows. Throws what is to be said if the key does not work. */
export async function showUsage(value = key.value) {
  const usage = await usageOf(value);
  setPrices(usage.prices ?? null);
  const rows = [["Pictures", number(usage.total.pictures)],
    ["Megapixels", number(usage.total.megapixels, 1)],
    ["Credits left", usage.credits_left === null ? "no limit" : number(usage.credits_left, 2)]];
  $("usage-rows").replaceChildren(...rows.map(([name, text]) => {
    const group = document.createElement("div");
    group.append(Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: text }));
    return group;
  }));
  $("usage").hidden = false;
}

/** On a shared computer the next one should find nothing: the pictures' parameters go, too. */
function forgetKey() {
  forgetAllPieces();
  memory.remove("key");
  memory.remove("desk");
  shelf.keepOnly(new Set()).finally(() => location.reload());
}

function toggleShown() {
  const shown = $("key").type === "password";
  $("key").type = shown ? "text" : "password";
  $("key-show").setAttribute("aria-pressed", String(shown));
}

export function setUpKey() {
  restoreKey();
  key.refused.on(() => askForKey("The server does not know this key. It may have been revoked, or mistyped."));
  $("key-form").addEventListener("submit", useKey);
  $("key").addEventListener("input", () => { $("key-use").hidden = false; });
  $("key-button").addEventListener("click", () => askForKey());
  $("key-close").addEventListener("click", () => $("key-dialog").close());
  $("key-forget").addEventListener("click", forgetKey);
  $("key-show").addEventListener("click", toggleShown);
}
