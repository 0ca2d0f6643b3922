// SPDX-License-Identifier: MIT
/* What the buttons of a piece do. */
import { getPicture } from "./api.js";
import { curlOf } from "./curl.js";
import { $, copyText, say, scrollTo, tell } from "./page.js";
import { forgetPiece, hide } from "./pieces.js";
import { addReference } from "./references.js";
import { savePicture } from "./saving.js";
import { cancel, draw } from "./sending.js";
import { setSize } from "./sizes.js";
import { sentence } from "./text.js";
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
    await addReference(await getPicture(piece.url), fileNameOf(piece), { taskId: piece.taskId, first: true });
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

async function copyCurl(piece) {
  const asked = document.activeElement;
  const { command, files } = curlOf(piece);
  try {
    await copyText(command);
    tell(`Copied. ${sentence(["The key comes from $EASEL_KEY", ...files.map((name) => `${name} from its folder`)].join(", "))}`);
  } catch {
    tell("The browser did not allow copying.");
  }
  asked?.focus();
}
