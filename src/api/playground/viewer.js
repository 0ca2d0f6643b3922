// SPDX-License-Identifier: MIT
/* One picture, large; arrows and swipes turn to the next. */
import { $, say } from "./page.js";
import { hasPicture, pieces } from "./pieces.js";
import { savePicture } from "./saving.js";
import { focusPiece } from "./wall.js";
import { factLines, shortTitleOf, titleOf } from "./wording.js";

const SWIPE_PX = 60;

let viewed = null;
let openedFrom = null;

export function openViewer(piece) {
  openedFrom = piece;
  $("viewer").showModal();
  show(piece);
}

function show(piece) {
  viewed = piece;
  const all = pieces.filter(hasPicture);
  const index = all.indexOf(piece);
  $("view-picture").src = piece.url;
  $("view-picture").alt = $("view-title").textContent = titleOf(piece);
  letKeysScroll($("view-title"));
  $("view-details").textContent = factLines(piece).join(" · ");
  $("view-download").href = piece.url;
  // not disabled: that would take the focus away, and the arrow keys with it
  $("view-newer").setAttribute("aria-disabled", String(index <= 0));
  $("view-older").setAttribute("aria-disabled", String(index >= all.length - 1));
}

/** What is longer than its place is scrolled by whoever tabs there. */
function letKeysScroll(element) {
  if (element.scrollHeight > element.clientHeight) element.tabIndex = 0;
  else element.removeAttribute("tabindex");
  element.scrollTop = 0;
}

function turn(by) {
  const all = pieces.filter(hasPicture);
  const index = all.indexOf(viewed) + by;
  if (!all[index]) return;
  show(all[index]);
  say(`${shortTitleOf(viewed)}, picture ${index + 1} of ${all.length}`);
}

function setUpSwipes(viewer) {
  let touchedAt = null;
  viewer.addEventListener("touchstart", (event) => { touchedAt = event.changedTouches[0].clientX; }, { passive: true });
  viewer.addEventListener("touchend", (event) => {
    const moved = event.changedTouches[0].clientX - touchedAt;
    if (Math.abs(moved) > SWIPE_PX && event.changedTouches.length === 1) turn(moved > 0 ? -1 : 1);
  });
}

export function setUpViewer() {
  const viewer = $("viewer");
  $("view-newer").addEventListener("click", () => turn(-1));
  $("view-older").addEventListener("click", () => turn(1));
  $("view-download").addEventListener("click", (event) => savePicture(viewed, event));
  $("view-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
  viewer.querySelector(".view").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) viewer.close();
  });
  viewer.addEventListener("close", () => {
    // the browser has given the focus back to where it was, and someone may be on their way already
    if (viewed !== openedFrom) focusPiece(viewed);
  });
  setUpSwipes(viewer);
}
