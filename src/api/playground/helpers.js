// SPDX-License-Identifier: MIT
/* Small things that know neither the page nor the server. */

export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

/** Something to call when it happens, and `on` for those who want to hear of it. So the modules below tell the modules
 * above, which they do not know. */
export function signal() {
  const listeners = [];
  const happen = (...facts) => { for (const listener of listeners) listener(...facts); };
  happen.on = (listener) => { listeners.push(listener); };
  return happen;
}

export function sleep(ms, abort) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    abort?.addEventListener("abort", () => { clearTimeout(timer); reject(abort.reason); }, { once: true });
  });
}

export function orAborted(promise, abort) {
  if (!abort) return promise;
  abort.throwIfAborted();
  return Promise.race([promise, new Promise((_, reject) =>
    abort.addEventListener("abort", () => reject(abort.reason), { once: true }))]);
}

/** Calls tick with the seconds left, each second. */
export async function countdown(seconds, tick, abort) {
  for (let left = Math.max(1, Math.ceil(seconds)); left > 0; left--) {
    tick(left);
    await sleep(1000, abort);
  }
}
