// SPDX-License-Identifier: MIT
/* What becomes of the tasks: the oldest that are under way have a stream each, the others are asked in turn. */
import { getTask, listTasks, promptOf } from "./api.js";
import { taskEvents } from "./event-stream.js";
import { sleep } from "./helpers.js";
import { PIECES_MAX, absorb, change, hasPicture, isActive, isHidden, isOver, newPiece, pieceOf, pieces } from "./pieces.js";

const STREAMS_MAX = 2; // a browser has six connections to a host, and other tabs share them
const LIST_AGAIN_MS = 5000;

const following = new Set();
let glanceTimer = 0;
let listedAt = -Infinity;

export async function refresh(piece) {
  try {
    absorb(piece, await getTask(piece.taskId));
    await learnPrompt(piece);
  } catch (error) {
    if (error.status !== 404) throw error;
    change(piece, { state: "GONE" });
  }
}

/** What this key has drawn elsewhere, and what became of what was drawn here. */
export async function refreshList() {
  if (performance.now() - listedAt < LIST_AGAIN_MS) return;
  listedAt = performance.now();
  for (const { task_id: taskId, status } of await listTasks(PIECES_MAX)) {
    const piece = pieceOf(taskId);
    if (isHidden(taskId)) continue;
    if (!piece) await adopt(taskId);
    else if (piece.state !== status && !following.has(piece)) await refresh(piece);
  }
  followAll();
}

async function adopt(taskId) {
  const task = await getTask(taskId);
  if (pieceOf(taskId)) return; // it came another way meanwhile
  const piece = newPiece({ taskId, state: task.status, prompt: "", elsewhere: true,
    createdAt: Date.parse(task.created_at) || 0 });
  absorb(piece, task);
  await learnPrompt(piece);
}

async function learnPrompt(piece) {
  if (!piece.prompt && hasPicture(piece)) change(piece, { prompt: await promptOf(piece.taskId).catch(() => "") });
}

export function followAll() {
  const active = pieces.filter((piece) => piece.taskId && isActive(piece)).reverse();
  for (const piece of active) {
    if (following.size < STREAMS_MAX && !following.has(piece)) follow(piece);
  }
  clearTimeout(glanceTimer);
  const rest = active.filter((piece) => !following.has(piece));
  if (rest.length) glanceTimer = setTimeout(() => glance(rest), 2000);
}

async function glance(rest) {
  const piece = rest.reduce((a, b) => ((a.glanced ?? 0) <= (b.glanced ?? 0) ? a : b));
  piece.glanced = performance.now();
  await refresh(piece).catch(() => {});
  followAll();
}

async function follow(piece) {
  following.add(piece);
  for (let failures = 0; isActive(piece);) {
    try {
      if (failures < 2) failures = (await listen(piece)) ? 0 : failures + 1;
      await refresh(piece);
      if (isActive(piece)) await sleep(1000);
    } catch (error) {
      await sleep(1000 * (error.retryAfter ?? 3));
    }
  }
  following.delete(piece);
  followAll();
}

/** Until the task is over or the stream breaks; the caller then asks for the task itself, which says more
 * than the last event. Returns whether it told anything. */
async function listen(piece) {
  let told = false;
  try {
    for await (const event of taskEvents(piece.taskId)) {
      if (event.name === "completed" || event.name === "failed") return true;
      told = takeEvent(piece, event) || told;
    }
  } catch { /* broken: the task itself is asked for next */ }
  return told;
}

function takeEvent(piece, { name, data }) {
  if (name !== "preview" && name !== "status" && name !== "progress") return false;
  const facts = JSON.parse(data);
  if (name === "preview") change(piece, { previewUrl: `data:${facts.media_type};base64,${facts.data}` });
  else if (!isOver({ state: facts.status })) absorb(piece, facts);
  return true;
}
