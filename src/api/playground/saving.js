// SPDX-License-Identifier: MIT
/* Pictures that become files of whoever looks at them. */
import { getPicture } from "./api.js";
import { tell } from "./page.js";
import { fileNameOf } from "./wording.js";

/** What a click on a download link does. The link alone would leave the name to the server, which names files by
 * their task. */
export async function savePicture(piece, click) {
  if (click.ctrlKey || click.metaKey || click.shiftKey) return; // a new tab, as of any link
  click.preventDefault();
  try {
    const href = URL.createObjectURL(await getPicture(piece.url));
    Object.assign(document.createElement("a"), { href, download: fileNameOf(piece) }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000); // the browser reads it when it likes
  } catch (error) {
    tell(error.message);
  }
}
