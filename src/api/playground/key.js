// SPDX-License-Identifier: MIT
/* The key that requests carry, and the wait for one that works. */
import { signal } from "./helpers.js";
import { memory } from "./storage.js";

let waiting = null; // {promise, resolve}, while there is no key and someone needs one

export const key = {
  value: "",
  refused: signal(), // the server did not know it, and it is gone

  /** Null, or a promise for a key to try. */
  known() {
    if (this.value) return null;
    if (!waiting) {
      waiting = {};
      waiting.promise = new Promise((resolve) => { waiting.resolve = resolve; });
    }
    return waiting.promise;
  },
  accept(value) {
    this.value = value;
    memory.set("key", value);
    waiting?.resolve();
    waiting = null;
  },
  /** `used` may be an older one than what was typed in meanwhile. */
  refuse(used) {
    if (used !== this.value) return;
    this.value = "";
    memory.remove("key");
    this.refused();
  },
};

/** A key may come in the address, which then forgets it. */
function keyFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!found) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return found.trim();
}

export function restoreKey() {
  const found = keyFromAddress() || memory.get("key", "");
  if (found) key.accept(found);
}
