// SPDX-License-Identifier: MIT
/* The service's own API, with no way in that other clients lack. */
import { lost, whenBack } from "./connection.js";
import { orAborted } from "./helpers.js";
import { key } from "./key.js";

export const TASKS = "/v1/ai/text-to-image/flux-2-pro";

class ServerError extends Error {
  constructor(status, message, faults = [], retryAfter = null) {
    super(message);
    Object.assign(this, { status, faults, retryAfter });
  }
}

async function errorOf(response) {
  const answer = await response.json().catch(() => ({}));
  const after = Number.parseFloat(response.headers.get("retry-after"));
  return new ServerError(response.status, answer.message || `The server answered ${response.status}.`,
    answer.invalid_params ?? [], Number.isFinite(after) ? after : null);
}

/** A request that waits while the server is away or the key is wrong, and then tries again: so only what
 * may be repeated goes through here. `waiting` ends the waiting, never a request under way; `during` ends both. */
export async function call(method, path, { body, headers = {}, waiting, during } = {}) {
  for (let broken = 0; ;) {
    await orAborted(whenBack() ?? key.known(), waiting);
    const used = key.value;
    let response;
    try {
      response = await fetch(path, {
        method, body, cache: "no-store", credentials: "omit", signal: during,
        headers: { "x-magnific-api-key": used, ...headers },
      });
    } catch (error) {
      if (during?.aborted) throw error;
      if (++broken > 3) throw new ServerError(0, "The server broke off the connection.");
      await orAborted(lost(), waiting);
      continue;
    }
    if (response.status === 502 || response.status === 504) {
      await orAborted(lost(), waiting);
    } else if (response.status === 401) {
      key.refuse(used);
    } else if (response.ok) {
      return response;
    } else {
      throw await errorOf(response);
    }
  }
}

const read = async (path, options) => (await call("GET", path, options)).json();

export const getTask = async (taskId) => (await read(`${TASKS}/${taskId}`)).data;
export const listTasks = async (limit) => (await read(`${TASKS}?limit=${limit}`)).data;
export const cancelTask = (taskId) => call("DELETE", `${TASKS}/${taskId}`);

/** The same `sendKey` makes one task, however often it is sent. */
export async function createTask(body, sendKey, waiting) {
  const headers = { "content-type": "application/json", "idempotency-key": sendKey };
  return (await (await call("POST", TASKS, { body, headers, waiting })).json()).data;
}

/** What a picture was drawn from, also one that was asked for elsewhere: only this dialect tells. */
export async function promptOf(taskId) {
  const { result } = await read(`/v1/get_result?id=${taskId}`, { headers: { "x-key": key.value } });
  return result?.prompt ?? "";
}

/** The model that draws, or "". */
export async function modelName() {
  const { data } = await read("/v1/models", { headers: { authorization: `Bearer ${key.value}` } });
  return data[0]?.id ?? "";
}

/* ---- asked for once, without patience; these throw what is to be said if it does not work ---- */

async function askOnce(path, headers = {}) {
  try {
    return await fetch(path, { cache: "no-store", headers });
  } catch {
    throw new Error("The server is away just now. Try again in a moment.");
  }
}

/** What a key has used, be it the one in use or not. */
export async function usageOf(value) {
  const response = await askOnce("/v1/usage", { "x-magnific-api-key": value });
  if (response.status === 401) throw new Error("The server does not know this key. Is it complete?");
  if (!response.ok) throw new Error(`The server could not check the key (${response.status}). Try again in a moment.`);
  return response.json();
}

/** A result's bytes; its address needs no key. */
export async function getPicture(url) {
  const response = await askOnce(url);
  if (!response.ok) throw new Error("This picture has expired.");
  return response.blob();
}
