// SPDX-License-Identifier: MIT
/* What the buttons of a piece do. */
import { getPicture } from "./api.js";
import { curlOf } from "./curl.js";
import { $, copyText, scrollTo, tell } from "./page.js";
import { addReference } from "./references.js";
import { removePiece } from "./removal.js";
import { savePicture } from "./saving.js";
import { cancel, draw } from "./sending.js";
import { setSize } from "./sizes.js";
import { sentence } from "./text.js";
import { openViewer } from "./viewer.js";
import { rearrange, revealNewest } from "./wall.js";
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
  remove: removePiece,
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
