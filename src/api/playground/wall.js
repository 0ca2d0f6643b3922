// SPDX-License-Identifier: MIT
/* The pieces on the page, in their order. */
import { makeCard, showCard, showMoment } from "./card.js";
import { $, calm, narrow, scrollTo } from "./page.js";
import { isPending, pieceChanged, pieceLeft, pieces } from "./pieces.js";

const GLIDING_MAX = 8;
const cards = new Map(); // piece -> card

export function focusPiece(piece) {
  cards.get(piece)?.canvas.focus();
}

/** What is to have the focus when a piece is taken away. */
export function neighbourOf(piece) {
  const root = cards.get(piece)?.root;
  const next = root?.nextElementSibling ?? root?.previousElementSibling;
  return next?.querySelector(".canvas:enabled, .actions :not([hidden])");
}

export function revealNewest() {
  const target = narrow.matches ? $("wall") : document.documentElement;
  requestAnimationFrame(() => scrollTo(target, "start"));
}

/** A change of order, in which pictures glide to their new places where the browser can do that. */
export function rearrange(change) {
  if (!document.startViewTransition || calm.matches || document.hidden) {
    change();
    return;
  }
  const named = pieces.slice(0, GLIDING_MAX).map((piece) => cards.get(piece)?.root).filter(Boolean);
  named.forEach((root, index) => { root.style.viewTransitionName = `piece-${index}`; });
  const moved = document.startViewTransition(change);
  moved.ready.catch(() => {}); // another came before it began
  const forgetNames = () => named.forEach((root) => { root.style.viewTransitionName = ""; });
  moved.finished.then(forgetNames, forgetNames);
}

function showEmpty() {
  $("empty").hidden = pieces.length > 0;
}

function show(piece) {
  let card = cards.get(piece);
  if (!card) {
    card = makeCard(piece);
    const older = pieces.slice(pieces.indexOf(piece) + 1).find((other) => cards.has(other));
    cards.set(piece, card);
    $("pieces").insertBefore(card.root, older ? cards.get(older).root : null);
    showEmpty();
  }
  showCard(piece, card);
}

function takeDown(piece) {
  cards.get(piece)?.root.remove();
  cards.delete(piece);
  showEmpty();
}

/** Times run on while nothing else changes. */
function tick() {
  for (const [piece, card] of cards) {
    if (isPending(piece)) showMoment(piece, card);
  }
}

/** actions: what the buttons do with their piece, by the name in data-do. */
export function setUpWall(actions) {
  pieceChanged.on(show);
  pieceLeft.on(takeDown);
  $("pieces").addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    const root = button?.closest(".piece");
    const piece = pieces.find((one) => root && cards.get(one)?.root === root);
    if (piece) actions[button.dataset.do](piece, event);
  });
  pieces.forEach(show);
  showEmpty();
  setInterval(tick, 1000);
}
