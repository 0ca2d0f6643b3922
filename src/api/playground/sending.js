// SPDX-License-Identifier: MIT
/* From a piece to a task: one after the other, in order; the Idempotency-Key makes every repetition harmless. */
import { cancelTask, createTask } from "./api.js";
import { followAll, refresh } from "./following.js";
import { countdown, randomId } from "./helpers.js";
import { say, tell } from "./page.js";
import { absorb, change, isActive, newPiece } from "./pieces.js";
import { shelf } from "./storage.js";
import { faultText, sentence } from "./text.js";
import { announce } from "./wording.js";

const SEND_AGAIN_MS = 12 * 3600 * 1000; // the server remembers an Idempotency-Key for 24 h

let queue = Promise.resolve();
const waits = new Map(); // piece -> AbortController of its waiting

/** onFaults(piece, faults): what to do if the server does not like a field, instead of showing it as failed. */
export function draw(facts, onFaults = null) {
  const piece = newPiece({ ...facts, sendKey: randomId() });
  enqueue(piece, onFaults);
  return piece;
}

/** It was on its way when the page was left. */
export function sendAgain(piece) {
  if (Date.now() - piece.createdAt < SEND_AGAIN_MS) enqueue(piece);
  else fail(piece, new Error("it could not be sent in time"));
}

function enqueue(piece, onFaults = null) {
  waits.set(piece, new AbortController());
  queue = queue.then(() => send(piece)).catch((error) => {
    waits.delete(piece);
    if (onFaults && error.status === 400 && error.faults.length) onFaults(piece, error.faults);
    else fail(piece, error);
  });
}

async function send(piece) {
  const { signal } = waits.get(piece);
  signal.throwIfAborted();
  const body = await bodyOf(piece);
  for (;;) {
    try {
      const task = await createTask(body, piece.sendKey, signal);
      waits.delete(piece);
      piece.note = undefined;
      absorb(piece, task);
      if (signal.aborted) await cancel(piece);
      followAll();
      return;
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      await waitFor(piece, error, signal);
    }
  }
}

async function waitFor(piece, error, signal) {
  const reason = error.status === 429 ? "Too many requests" : "The queue is full";
  const seconds = error.retryAfter ?? 5;
  say(`${reason}. It is sent again in ${Math.ceil(seconds)} seconds.`);
  await countdown(seconds, (left) => change(piece, { note: `${reason}; sent again in ${left} s` }), signal);
  piece.note = undefined;
}

function fail(piece, error) {
  const faults = (error.faults ?? []).map(({ name, reason }) => faultText(name, reason)).join("; ");
  Object.assign(piece, { note: undefined, state: "FAILED",
    error: error.name === "AbortError" ? "cancelled" : faults || error.message });
  announce(piece);
  change(piece);
}

export async function cancel(piece) {
  waits.get(piece)?.abort();
  change(piece, { note: "Cancelling" });
  if (!piece.taskId || !isActive(piece)) return;
  try {
    await cancelTask(piece.taskId);
    await refresh(piece);
  } catch (error) {
    tell(sentence(error.message));
  }
}

/* ---- the body ---- */

export const pictureField = (index) => (index ? `input_image_${index + 1}` : "input_image");

/** All but the pictures. */
export function parametersOf(piece) {
  const parameters = { prompt: piece.prompt, width: piece.width, height: piece.height };
  if (Number.isInteger(piece.seed)) parameters.seed = piece.seed;
  if (piece.enhance) parameters.prompt_upsampling = true;
  return parameters;
}

async function bodyOf(piece) {
  const body = parametersOf(piece);
  for (const [index, { id, name }] of piece.pictures.entries()) {
    const blob = await shelf.get(id);
    if (!blob) throw new Error(`The picture ${name} is not kept in this browser any more. Add it again.`);
    body[pictureField(index)] = await dataUrl(blob);
  }
  return JSON.stringify(body);
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
