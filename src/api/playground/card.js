// SPDX-License-Identifier: MIT
/* One piece on the page: its picture and what is said of it. Data never becomes markup: everything goes through
 * textContent and properties. */
import { refresh } from "./following.js";
import { sleep } from "./helpers.js";
import { $ } from "./page.js";
import { change, hasPicture, isActive, isPending } from "./pieces.js";
import { blankText, detailsText, shortTitleOf, titleOf } from "./wording.js";

/** Its parts on the page; the caller puts `root` there. */
export function makeCard(piece) {
  const root = $("piece-template").content.firstElementChild.cloneNode(true);
  const part = (name) => root.querySelector(name);
  const card = {
    root, canvas: part(".canvas"), blank: part(".blank"), preview: part(".preview"), picture: part(".picture"),
    ledge: part(".ledge"), title: part(".title"), fuller: part(".fuller"), details: part(".details"),
    actions: [...root.querySelectorAll(".actions > *")],
  };
  card.title.id = `title-${piece.ref}`;
  root.firstElementChild.setAttribute("aria-labelledby", card.title.id);
  for (const button of card.actions) button.setAttribute("aria-describedby", card.title.id);
  part(".sources").append(...piece.pictures.map(makeSource));
  part(".sources").hidden = !piece.pictures.length;
  card.picture.addEventListener("load", () => pictureLoaded(card));
  card.picture.addEventListener("error", () => pictureBroken(piece, card));
  return card;
}

/** A picture that it was made from. */
function makeSource({ name, miniature }) {
  return Object.assign(new Image(), { src: miniature, alt: name, title: name });
}

export function showCard(piece, card) {
  card.root.dataset.state = piece.state;
  card.root.style.setProperty("--ratio", (piece.width || 4) / (piece.height || 3));
  card.title.textContent = card.title.title = titleOf(piece);
  const fuller = piece.drawnPrompt && piece.drawnPrompt !== piece.prompt;
  card.fuller.hidden = !fuller;
  card.fuller.lastElementChild.textContent = fuller ? piece.drawnPrompt : "";
  showMoment(piece, card);
  showProgress(piece, card);
  showPreview(piece, card);
  showPicture(piece, card);
  showActions(piece, card);
}

/** What changes while time goes by. */
export function showMoment(piece, card) {
  card.details.textContent = detailsText(piece);
  card.blank.textContent = blankText(piece);
}

function showProgress(piece, card) {
  const pending = isPending(piece);
  const done = piece.state === "COMPLETED" ? 1 : piece.nSteps ? piece.step / piece.nSteps : 0;
  card.preview.style.setProperty("--done", done);
  card.ledge.value = pending ? piece.progress ?? 0 : done; // done, it fades where it stands
  card.ledge.setAttribute("aria-label", pending ? `Progress of ${shortTitleOf(piece)}` : "");
  card.ledge.setAttribute("aria-hidden", String(!pending));
}

async function showPreview(piece, card) {
  const url = piece.previewUrl;
  if (!url || card.previewUrl === url) return;
  card.previewUrl = url;
  const coming = new Image();
  coming.src = url;
  await coming.decode().catch(() => {}); // so that nothing flickers when it is set
  if (!isActive(piece)) return;
  card.preview.src = url;
  card.preview.hidden = false;
}

function showPicture(piece, card) {
  const picture = hasPicture(piece);
  card.canvas.disabled = !picture;
  card.canvas.setAttribute("aria-label", picture ? `Look closer: ${shortTitleOf(piece)}` : blankText(piece));
  if (!picture) {
    card.picture.hidden = true;
    if (!isActive(piece)) card.preview.hidden = true;
    return;
  }
  if (card.picture.dataset.url === piece.url) return;
  card.picture.dataset.url = piece.url;
  card.picture.classList.add("coming");
  card.picture.hidden = false;
  card.picture.alt = titleOf(piece);
  card.picture.src = piece.url;
}

async function pictureLoaded(card) {
  card.picture.classList.remove("coming");
  await sleep(800);
  card.preview.hidden = true;
}

/** Expired, or the server is away: the task knows, and asking for it waits for the server. */
async function pictureBroken(piece, card) {
  const broken = piece.url;
  card.picture.hidden = true;
  if (!broken) return;
  if (card.brokenBefore === broken) {
    change(piece, { url: undefined, expired: true });
    return;
  }
  card.brokenBefore = broken;
  await refresh(piece).catch(() => {});
  delete card.picture.dataset.url; // once more
  change(piece);
}

function showActions(piece, card) {
  const over = !isPending(piece);
  const picture = hasPicture(piece);
  const known = !piece.elsewhere; // all that it was made from
  const wanted = { cancel: !over, again: over && known, vary: over && known, edit: picture, curl: known, download: picture,
    remove: over };
  for (const button of card.actions) {
    button.hidden = !wanted[button.dataset.do];
    if (button.dataset.do === "download" && picture) button.href = piece.url;
  }
}
