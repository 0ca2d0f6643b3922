// SPDX-License-Identifier: MIT
/* The pictures to work from, in their slots on the desk. */
import { readPicture } from "./bitmaps.js";
import { randomId, signal } from "./helpers.js";
import { $, say } from "./page.js";
import { shelf } from "./storage.js";

const REFERENCES_MAX = 4;

export const references = []; // {id, name, thumbnail, pixels}; what the API gets is on the shelf
export const referencesChanged = signal();

/** `first`: before the others, of which the last one gives way; else one too many is refused. Throws a sentence. */
export async function addReference(blob, name, { first = false } = {}) {
  if (references.length === REFERENCES_MAX && !first) throw new Error(`${name} is one too many: at most ${REFERENCES_MAX}.`);
  const { accepted, thumbnail, pixels } = await readPicture(blob, name);
  const reference = { id: randomId(), name, thumbnail, pixels };
  await shelf.put(reference.id, accepted);
  if (first) references.unshift(reference);
  else references.push(reference);
  references.length = Math.min(references.length, REFERENCES_MAX);
  showSlots();
  say(`${name} is picture ${references.indexOf(reference) + 1} to work from.`);
}

export async function addReferences(files) {
  $("pictures-error").textContent = "";
  for (const file of files) {
    try {
      await addReference(file, file.name || "pasted.png");
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
  say(`${gone.name} is removed.`);
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
  pick.disabled = index > references.length;
  pick.title = reference?.name ?? "";
  pick.setAttribute("aria-label", reference ? `Picture ${index + 1}: ${reference.name}` : `Add picture ${index + 1}`);
  drop.setAttribute("aria-label", reference ? `Remove picture ${index + 1}, ${reference.name}` : "");
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
