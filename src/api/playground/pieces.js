// SPDX-License-Identifier: MIT
/* The pieces of the wall, newest first, and what the server says of them.
 * One that was asked for `elsewhere`, with this key, may have been made from pictures that this page has never seen.
 *
 * A piece lives:  SENDING -> CREATED -> IN_PROGRESS -> COMPLETED | FAILED;  GONE: unknown to the server. */
import { randomId, signal } from "./helpers.js";
import { memory } from "./storage.js";
import { announce } from "./wording.js";

export const PIECES_MAX = 100;
const HIDDEN_MAX = 500;
const STORED = ["ref", "sendKey", "taskId", "state", "prompt", "width", "height", "seed", "enhance", "pictures", "createdAt",
  "elsewhere", "drawnPrompt", "cost", "error", "seconds", "url", "expired"];

export const pieces = [];
export const pieceChanged = signal(); // of one that is in the list
export const pieceLeft = signal();

export const isOver = (piece) => piece.state === "COMPLETED" || piece.state === "FAILED";
export const isActive = (piece) => piece.state === "CREATED" || piece.state === "IN_PROGRESS";
export const isPending = (piece) => piece.state === "SENDING" || isActive(piece);
export const hasPicture = (piece) => piece.state === "COMPLETED" && Boolean(piece.url);
export const pieceOf = (taskId) => pieces.find((piece) => piece.taskId === taskId);

/* ---- the list, and what of it stays in this browser ---- */

let saveTimer = 0;

function saveNow() {
  memory.set("pieces", pieces.map((piece) => Object.fromEntries(STORED.map((name) => [name, piece[name]]))));
}

function save() {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveNow, 300);
}

export function restorePieces() {
  pieces.push(...memory.get("pieces", []).filter((piece) => piece?.ref && piece.prompt !== undefined));
  addEventListener("pagehide", saveNow);
}

/** On a shared computer the next one should find nothing. */
export function forgetAllPieces() {
  clearTimeout(saveTimer);
  pieces.length = 0;
  memory.remove("pieces");
  memory.remove("hidden");
}

export function newPiece(facts) {
  const piece = { ref: randomId(), state: "SENDING", seed: null, enhance: false, pictures: [], createdAt: Date.now(), ...facts };
  hang(piece);
  return piece;
}

/** Where its age puts it. */
function hang(piece) {
  const at = pieces.findIndex((other) => other.createdAt <= piece.createdAt);
  pieces.splice(at < 0 ? pieces.length : at, 0, piece);
  pieces.filter((other) => !isPending(other)).slice(PIECES_MAX).forEach(forgetPiece);
  change(piece);
}

export function forgetPiece(piece) {
  if (!pieces.includes(piece)) return;
  pieces.splice(pieces.indexOf(piece), 1);
  pieceLeft(piece);
  save();
}

/** Changes facts of a piece, and shows and keeps it. */
export function change(piece, facts = {}) {
  Object.assign(piece, facts);
  if (!pieces.includes(piece)) return;
  pieceChanged(piece);
  save();
}

/* ---- what was taken off the wall, though the server still has it ---- */

const hidden = new Set(memory.get("hidden", []));

export const isHidden = (taskId) => hidden.has(taskId);

const saveHidden = () => memory.set("hidden", [...hidden].slice(-HIDDEN_MAX));

export function hide(taskId) {
  hidden.add(taskId);
  saveHidden();
}

/** One that was hidden and forgotten. */
export function bringBack(piece) {
  hidden.delete(piece.taskId);
  saveHidden();
  if (!piece.taskId || !pieceOf(piece.taskId)) hang(piece);
}

/* ---- what the server says ---- */

/** In an answer or an event. */
export function absorb(piece, facts) {
  const before = piece.state;
  if (facts.task_id) piece.taskId = facts.task_id;
  if (facts.status) piece.state = facts.status;
  for (const name of ["seed", "width", "height", "cost", "error"]) {
    if (facts[name] !== undefined && facts[name] !== null) piece[name] = facts[name];
  }
  if (facts.prompt) {
    piece.prompt ||= facts.prompt;
    piece.drawnPrompt = facts.prompt;
  }
  piece.queue = facts.queue_position;
  absorbProgress(piece, facts);
  if (piece.state === "IN_PROGRESS") piece.seenRunning ??= performance.now();
  if (piece.state === "COMPLETED") absorbResult(piece, facts);
  if (isOver(piece)) piece.note = piece.previewUrl = undefined;
  if (piece.state !== before) announce(piece);
  change(piece);
}

function absorbProgress(piece, facts) {
  if (typeof facts.progress === "number") piece.progress = facts.progress;
  if (facts.stage) piece.stage = facts.stage;
  guessEnd(piece);
  if (facts.n_steps) Object.assign(piece, { step: facts.step, nSteps: facts.n_steps });
}

/** From how fast it has gone since it was first seen running; progress counts the work, so it grows evenly. */
function guessEnd(piece) {
  if (piece.state !== "IN_PROGRESS" || piece.progress === undefined) return;
  const now = performance.now();
  if (!piece.pace || piece.progress < piece.pace.progress) piece.pace = { progress: piece.progress, at: now };
  const done = piece.progress - piece.pace.progress;
  piece.endsAt = done > 0 ? now + ((1 - piece.progress) * (now - piece.pace.at)) / done : undefined;
}

function absorbResult(piece, facts) {
  if (facts.generated) {
    piece.url = facts.generated.length ? localUrl(facts.generated[0]) : undefined;
    piece.expired = !piece.url;
  }
  piece.seconds = secondsBetween(facts.started_at, facts.finished_at) ?? piece.seconds
    ?? (piece.seenRunning && (performance.now() - piece.seenRunning) / 1000);
}

/** Result URLs name the public host; the page asks for them where it came from itself. */
function localUrl(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

function secondsBetween(from, to) {
  const ms = Date.parse(to) - Date.parse(from);
  return Number.isFinite(ms) ? Math.max(0, ms / 1000) : undefined;
}
