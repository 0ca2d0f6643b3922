// SPDX-License-Identifier: MIT
/* What stays in this browser: settings and the wall in localStorage, reference pictures in IndexedDB. A browser that
 * allows neither has both for as long as the page lasts. */

const PREFIX = "easel.";

export const memory = {
  get(name, fallback = null) {
    try {
      return JSON.parse(localStorage.getItem(PREFIX + name)) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(PREFIX + name, JSON.stringify(value));
    } catch { /* private or full */ }
  },
  remove(name) {
    try {
      localStorage.removeItem(PREFIX + name);
    } catch { /* as above */ }
  },
};

/** Reference pictures, so that "again" works after a reload, too: id -> Blob. */
export const shelf = {
  held: new Map(),
  database: null,
  open() {
    this.database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open("easel", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("pictures");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return this.database;
  },
  async run(mode, work) {
    const store = (await this.open()).transaction("pictures", mode).objectStore("pictures");
    return new Promise((resolve, reject) => {
      const request = work(store);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  },
  async put(id, blob) {
    this.held.set(id, blob);
    await this.run("readwrite", (store) => store.put(blob, id)).catch(() => {});
  },
  async get(id) {
    return this.held.get(id) ?? this.run("readonly", (store) => store.get(id)).catch(() => undefined);
  },
  async keepOnly(ids) {
    const all = await this.run("readonly", (store) => store.getAllKeys()).catch(() => []);
    for (const id of all) {
      if (!ids.has(id)) await this.run("readwrite", (store) => store.delete(id)).catch(() => {});
    }
  },
};
