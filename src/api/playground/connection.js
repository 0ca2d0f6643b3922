// SPDX-License-Identifier: MIT
/* Is the server there, and the patience until it is. */
import { countdown, sleep } from "./helpers.js";
import { $, tell } from "./page.js";

const RECONNECT_S = [1, 2, 4, 8, 15];

let returning = null; // while the server is away: a promise for its return
let tryNow = () => {};
let model = "";

/** "ready", "starting" (it answers, but cannot draw yet) or "away". */
async function probe() {
  try {
    const response = await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (response.ok) return "ready";
    return response.status === 502 || response.status === 504 ? "away" : "starting";
  } catch {
    return "away";
  }
}

function showState(state) {
  const texts = { ready: model ? `Ready with ${model}` : "Ready", starting: "The worker is getting ready", away: "Away" };
  $("server").dataset.state = state;
  $("server-text").textContent = texts[state];
}

async function reconnect() {
  showState("away");
  $("away").hidden = false;
  for (let attempt = 0; ; attempt++) {
    const now = new AbortController();
    tryNow = () => now.abort();
    const seconds = RECONNECT_S[Math.min(attempt, RECONNECT_S.length - 1)];
    await countdown(seconds, (left) => {
      $("away-text").textContent = `The server is away. Trying again in ${left} s.`;
    }, now.signal).catch(() => {});
    const state = await probe();
    if (state === "away") continue;
    $("away").hidden = true;
    showState(state);
    tell("The server is back.");
    return;
  }
}

/** Notes that the server is away; resolves when it is back. */
export function lost() {
  returning ??= reconnect().finally(() => { returning = null; });
  return returning;
}

/** Null, or a promise for the return of the server. */
export const whenBack = () => returning;

export function nameModel(name) {
  model = name;
  if ($("server").dataset.state === "ready") showState("ready");
}

/** Looks every now and then, for as long as the page is open. */
export async function watchServer() {
  $("away-now").addEventListener("click", () => tryNow());
  for (;;) {
    if (!document.hidden && !returning) {
      const state = await probe();
      if (state === "away") lost();
      else showState(state);
    }
    await sleep($("server").dataset.state === "starting" ? 3000 : 20000);
  }
}
