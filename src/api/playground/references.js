// SPDX-License-Identifier: MIT
/* The pictures to work from, in their slots on the desk. */
import { readPicture } from "./bitmaps.js";
import { randomId, signal } from "./helpers.js";
import { $, say } from "./page.js";
import { shelf } from "./storage.js";

const REFERENCES_MAX = 4;

/** {picture, thumbnail, pixels} of each. `picture` is what a piece keeps of it: {id, name, miniature, taskId}; what the
 * API gets is on the shelf under its id, and taskId is of the task that drew it, if that is known. */
export const references = [];
export const referencesChanged = signal();

/** `first`: before the others, of which the last one gives way; else one too many is refused. Throws a sentence. */
export async function addReference(blob, name, { taskId, first = false } = {}) {
  if (references.length === REFERENCES_MAX && !first) {
    throw new Error(`${name} is one too many: at most ${REFERENCES_MAX}.`);
  }
  const { accepted, thumbnail, miniature, pixels } = await readPicture(blob, name);
  const reference = { picture: { id: randomId(), name, miniature, taskId }, thumbnail, pixels };
  await shelf.put(reference.picture.id, accepted);
  if (first) references.unshift(reference);
  else references.push(reference);
  references.length = Math.min(references.length, REFERENCES_MAX);
  showSlots();
  say(`${name} is picture ${references.indexOf(reference) + 1} to work from.`);
}

/** `taskId`: if they were drawn here. */
export async function addReferences(files, taskId) {
  $("pictures-error").textContent = "";
  for (const file of files) {
    try {
      await addReference(file, file.name || "pasted.png", { taskId });
    } catch (error) {
      $("pictures-error").textContent = error.message;
      say(error.message);
    }
  }
}

function removeReference(index) {
  const [gone] = references.splice(index, 1);
  $("pictures-error").textContent = "";
  showSlots();
  $("slots").children[index].querySelector(".pick").focus();
  say(`${gone.picture.name} is removed.`);
}

function showSlots() {
  for (const [index, slot] of [...$("slots").children].entries()) showSlot(slot, index, references[index]);
  referencesChanged();
}

function showSlot(slot, index, reference) {
  const [pick, drop, canvas] = [".pick", ".drop", "canvas"].map((part) => slot.querySelector(part));
  slot.classList.toggle("full", Boolean(reference));
  slot.classList.remove("wrong");
  canvas.hidden = drop.hidden = !reference;
  const name = reference?.picture.name ?? "";
  pick.disabled = index > references.length;
  pick.title = name;
  pick.setAttribute("aria-label", reference ? `Picture ${index + 1}: ${name}` : `Add picture ${index + 1}`);
  drop.setAttribute("aria-label", reference ? `Remove picture ${index + 1}, ${name}` : "");
  if (reference) canvas.getContext("2d").drawImage(reference.thumbnail, 0, 0);
}

export function setUpReferences() {
  for (let index = 0; index < REFERENCES_MAX; index++) {
    const slot = $("slot-template").content.firstElementChild.cloneNode(true);
    const pick = slot.querySelector(".pick");
    pick.addEventListener("click", () => $("picture-files").click());
    pick.addEventListener("keydown", (event) => {
      if ((event.key === "Delete" || event.key === "Backspace") && references[index]) removeReference(index);
    });
    slot.querySelector(".drop").addEventListener("click", () => removeReference(index));
    $("slots").append(slot);
  }
  showSlots();
  $("picture-files").addEventListener("change", async () => {
    await addReferences([...$("picture-files").files]);
    $("picture-files").value = "";
  });
}
