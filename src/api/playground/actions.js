// SPDX-License-Identifier: MIT
/* What the buttons of a piece do. */
import { TASKS, getPicture } from "./api.js";
import { $, copyText, say, scrollTo, tell } from "./page.js";
import { forgetPiece, hide } from "./pieces.js";
import { addReference } from "./references.js";
import { savePicture } from "./saving.js";
import { cancel, draw, parametersOf, pictureField } from "./sending.js";
import { setSize } from "./sizes.js";
import { openViewer } from "./viewer.js";
import { neighbourOf, rearrange, revealNewest } from "./wall.js";
import { fileNameOf } from "./wording.js";

/** By the name in data-do; they get the piece and the click. */
export const actions = {
  view: openViewer,
  cancel,
  again: (piece) => redraw(piece, piece.seed),
  vary: (piece) => redraw(piece, null),
  edit,
  curl: copyCurl,
  download: savePicture,
  remove,
};

function redraw({ prompt, width, height, enhance, pictures }, seed) {
  rearrange(() => draw({ prompt, width, height, enhance, pictures, seed }));
  revealNewest();
}

async function edit(piece) {
  try {
    await addReference(await getPicture(piece.url), fileNameOf(piece), { first: true });
    if (piece.width) setSize(piece.width, piece.height);
    $("prompt").focus();
    $("prompt").select();
    scrollTo($("desk"), "nearest");
  } catch (error) {
    tell(error.message);
  }
}

function remove(piece) {
  if (piece.taskId) hide(piece.taskId);
  rearrange(() => {
    const next = neighbourOf(piece) ?? $("prompt");
    forgetPiece(piece);
    next.focus({ preventScroll: true });
  });
  say("Removed.");
}

/* ---- a command that draws it ---- */

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(piece) {
  const start = [`curl -sS ${shellQuoted(location.origin + TASKS)}`, '-H "x-magnific-api-key: $EASEL_KEY"',
    "-H 'content-type: application/json'"];
  const json = JSON.stringify(parametersOf(piece));
  if (!piece.pictures.length) return [...start, `-d ${shellQuoted(json)}`].join(" \\\n  ");
  // pictures are too long for a command line: the shell fills a here-document with them
  const fields = piece.pictures.map(({ name }, index) =>
    `"${pictureField(index)}":"$(base64 < ${shellQuoted(name)} | tr -d '\\n')"`);
  const text = json.slice(0, -1).replace(/[\\$`]/g, "\\$&");
  return `${[...start, "--data-binary @- <<EOF"].join(" \\\n  ")}\n${text},${fields.join(",")}}\nEOF\n`;
}

async function copyCurl(piece) {
  const asked = document.activeElement;
  try {
    await copyText(curlOf(piece));
    tell("Copied. Put your key into EASEL_KEY.");
  } catch {
    tell("The browser did not allow copying.");
  }
  asked?.focus();
}
