// SPDX-License-Identifier: MIT
/* Pictures to work from that are pasted or dropped anywhere on the page, from the wall, too. */
import { getPicture } from "./api.js";
import { $, dialogIsOpen, tell } from "./page.js";
import { pieces } from "./pieces.js";
import { addReferences } from "./references.js";
import { fileNameOf } from "./wording.js";

const isImage = (file) => file.type.startsWith("image/");
const mayBring = (transfer) => ["Files", "text/uri-list"].some((type) => transfer?.types.includes(type));

/** {files, taskId}: a picture dragged from the wall comes as its address. */
async function dropped(transfer) {
  const files = [...transfer.files].filter(isImage);
  const address = transfer.getData("text/uri-list").split("\n")[0];
  if (files.length || !address) return { files };
  const { pathname, search } = new URL(address, location.href);
  if (!pathname.startsWith("/v1/files/")) return { files };
  const piece = pieces.find((one) => one.url === pathname + search);
  const picture = await getPicture(pathname + search);
  const file = new File([picture], piece ? fileNameOf(piece) : "picture.png", { type: picture.type });
  return { files: [file], taskId: piece?.taskId };
}

async function takeDrop(event) {
  $("drop-here").hidden = true;
  if (!mayBring(event.dataTransfer)) return;
  event.preventDefault();
  try {
    const { files, taskId } = await dropped(event.dataTransfer);
    if (files.length) await addReferences(files, taskId);
    else tell("There was no picture in that.");
  } catch (error) {
    tell(error.message);
  }
}

function takePaste(event) {
  const files = [...event.clipboardData.files].filter(isImage);
  if (!files.length || dialogIsOpen()) return;
  event.preventDefault();
  addReferences(files);
}

export function setUpIntake() {
  document.addEventListener("paste", takePaste);
  document.addEventListener("dragover", (event) => {
    if (!mayBring(event.dataTransfer)) return;
    event.preventDefault();
    $("drop-here").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("drop-here").hidden = true;
  });
  document.addEventListener("dragend", () => { $("drop-here").hidden = true; });
  document.addEventListener("drop", takeDrop);
}
