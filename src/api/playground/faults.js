// SPDX-License-Identifier: MIT
/* What is wrong with the desk's fields, said beside them. */
import { $, say } from "./page.js";
import { faultText, sentence } from "./text.js";

// by the names of the API; the pictures have slots instead of an input
const FIELDS = {
  prompt: { fault: "prompt-error", input: "prompt", label: "The prompt" },
  width: { fault: "size-error", input: "width", label: "Width" },
  height: { fault: "size-error", input: "height", label: "Height" },
  seed: { fault: "seed-error", input: "seed", label: "The seed" },
  prompt_upsampling: { fault: "enhance-error", input: "enhance", label: "Enhancing" },
};

export function clearFaults() {
  for (const fault of document.querySelectorAll("#desk .fault")) fault.textContent = "";
  for (const input of document.querySelectorAll("#desk [aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const slot of document.querySelectorAll(".slot.wrong")) slot.classList.remove("wrong");
}

/** [{name, reason}], as the server words them. */
export function showFaults(faults) {
  clearFaults();
  const said = faults.map(showFault);
  document.querySelector("#desk [aria-invalid=true], .slot.wrong .pick")?.focus();
  say(said.join(" "));
}

function fieldOf(name) {
  const picture = /^input_image(?:_(\d))?$/.exec(name);
  if (!picture) return FIELDS[name] ?? { fault: "form-error", label: name };
  const nth = Number(picture[1] ?? 1);
  return { fault: "pictures-error", slot: $("slots").children[nth - 1], label: `Picture ${nth}` };
}

function showFault({ name, reason }) {
  const { fault, input, slot, label } = fieldOf(name);
  const text = sentence(faultText(label, reason));
  const place = $(fault);
  place.textContent += (place.textContent ? " " : "") + text;
  if (input) $(input).setAttribute("aria-invalid", "true");
  slot?.classList.add("wrong");
  return text;
}
