// SPDX-License-Identifier: MIT
/* The title, which tells those who went to another tab how far their picture is. */
import { isPending, pieceChanged, pieceLeft, pieces } from "./pieces.js";

let drawing = false;
let unseen = false; // something was finished while nobody looked

function told() {
  const running = pieces.find((piece) => piece.state === "IN_PROGRESS");
  if (running) return `${Math.floor(100 * (running.progress ?? 0))}\u00a0%`;
  if (drawing) return "Waiting";
  return unseen ? "Done" : "";
}

function showTitle() {
  const before = drawing;
  drawing = pieces.some(isPending);
  unseen = document.hidden && !drawing && (unseen || before);
  const news = told();
  document.title = news ? `${news} · Easel` : "Easel";
}

export function setUpTab() {
  pieceChanged.on(showTitle);
  pieceLeft.on(showTitle);
  document.addEventListener("visibilitychange", showTitle);
}
