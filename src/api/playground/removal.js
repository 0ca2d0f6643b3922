// SPDX-License-Identifier: MIT
/* Taking pieces off the wall, and back as long as one may regret it. */
import { $, dialogIsOpen, say } from "./page.js";
import { bringBack, forgetPiece, hide } from "./pieces.js";
import { focusPiece, neighbourOf, rearrange } from "./wall.js";

const REGRET_MS = 10000;

let removed = null;
let timer = 0;

export function removePiece(piece) {
  if (piece.taskId) hide(piece.taskId);
  rearrange(() => {
    const next = neighbourOf(piece) ?? $("prompt");
    forgetPiece(piece);
    next.focus({ preventScroll: true });
  });
  removed = piece;
  $("removed").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(settle, REGRET_MS);
  say("Removed. Control Z brings it back.");
}

function settle() {
  removed = null;
  $("removed").hidden = true;
}

function undo() {
  const piece = removed;
  settle();
  rearrange(() => {
    bringBack(piece);
    focusPiece(piece);
  });
  say("It is back.");
}

export function setUpRemoval() {
  $("removed-undo").addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || !removed || dialogIsOpen()) return;
    if (event.target.matches("input, textarea")) return;
    event.preventDefault(); // the browser would undo what was typed last, wherever that is
    undo();
  });
}
