// SPDX-License-Identifier: MIT
/* The playground: one page over the service's own API. This is where it begins; imports point one way, and who wants
 * to tell the modules above has a signal (helpers.js). */
import { actions } from "./actions.js";
import { modelName } from "./api.js";
import { nameModel, watchServer } from "./connection.js";
import { setUpDesk } from "./desk.js";
import { followAll, refreshList } from "./following.js";
import { setUpIntake } from "./intake.js";
import { key } from "./key.js";
import { askForKey, keyAccepted, setUpKey, showUsage } from "./key-dialog.js";
import { tell } from "./page.js";
import { pieces, restorePieces } from "./pieces.js";
import { setUpReferences } from "./references.js";
import { setUpRemoval } from "./removal.js";
import { sendAgain } from "./sending.js";
import { shelf } from "./storage.js";
import { setUpTab } from "./tab.js";
import { sentence } from "./text.js";
import { setUpTheme } from "./theme.js";
import { setUpViewer } from "./viewer.js";
import { setUpWall } from "./wall.js";

/** What is asked of the server once there is a key. */
async function meet() {
  try {
    await refreshList();
    nameModel(await modelName());
  } catch (error) {
    tell(sentence(error.message));
  }
  followAll();
}

function setUpPieces() {
  restorePieces();
  setUpWall(actions);
  for (const piece of pieces.filter((one) => one.state === "SENDING").reverse()) sendAgain(piece);
  shelf.keepOnly(new Set(pieces.flatMap((piece) => piece.pictures.map(({ id }) => id))));
}

function start() {
  setUpTheme();
  setUpKey();
  setUpDesk();
  setUpReferences();
  setUpIntake();
  setUpViewer();
  setUpRemoval();
  setUpTab();
  setUpPieces();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && key.value) refreshList().catch(() => {});
  });
  keyAccepted.on(meet);
  watchServer();
  if (key.value) {
    showUsage().catch(() => {});
    meet();
  } else {
    askForKey();
  }
}

start();
