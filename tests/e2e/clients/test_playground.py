#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The playground as people meet it: a real browser on a real `easel serve`.

Things are found by their role and name, as a screen reader finds them. Needs the package playwright and a Chromium on
the PATH; EASEL_SCREENSHOTS=DIR keeps a picture of the page at the end of each test."""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pictures import png, size_of  # noqa: E402
from service import NANO, ClientTest  # noqa: E402
from running import EASEL, PATIENCE_S, Server, ServiceTest, environment  # noqa: E402
import tap  # noqa: E402

try:
    from axe_playwright_python.sync_playwright import Axe
except ImportError:
    Axe = None
try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:
    sync_playwright = None

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 1000 * PATIENCE_S  # for a busy machine; every wait ends as soon as it can
SCREENSHOTS = os.environ.get("EASEL_SCREENSHOTS")

# What has been on the page for a moment only: states of the newest picture and its previews.
WITNESS = """
globalThis.witnessed = { details: [], previews: new Set() };
new MutationObserver(() => {
  const details = document.querySelector(".piece .details")?.textContent;
  if (details && details !== witnessed.details.at(-1)) witnessed.details.push(details);
  const preview = document.querySelector(".piece .preview");
  if (preview?.src && !preview.hidden) witnessed.previews.add(preview.src);
}).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
"""

browser = None
driver = None


def setUpModule():
    global browser, driver
    if sync_playwright and CHROMIUM:
        driver = sync_playwright().start()
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        expect.set_options(timeout=PATIENCE_MS)


def tearDownModule():
    if driver:
        browser.close()
        driver.stop()


def needs_browser(test):
    test = unittest.skipUnless(CHROMIUM, "there is no Chromium on the PATH")(test)
    return unittest.skipUnless(sync_playwright, "the package playwright is not installed")(test)


class Browsing:
    """Mixed into a test case: pages, and what every one of them must keep."""

    def new_key(self, server, *flags):
        """A key without tasks: the wall shows all that were asked for with a key."""
        return self.easel_key(server, "create", self._testMethodName[:60], *flags)

    def easel_key(self, server, *args):
        started_with = server.process.args
        data = started_with[started_with.index("--data") + 1]
        done = subprocess.run([EASEL, "key", *args, "--data", data], capture_output=True, text=True, env=environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def open(self, server, key=True, width=1280, height=860, **context):
        """A page in a browser of its own; key: True for a new one, a text, or False."""
        complaints = []
        context = browser.new_context(viewport={"width": width, "height": height},
                                      **{"reduced_motion": "reduce", **context})
        self.addCleanup(context.close)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(WITNESS)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text)
                if re.search("Content.Security.Policy|Uncaught", said.text) else None)
        self.addCleanup(lambda: self.assertEqual(complaints, []))
        if SCREENSHOTS:
            self.addCleanup(lambda: page.screenshot(
                path=f"{SCREENSHOTS}/{self._testMethodName}.png"))
        self.key = key = self.new_key(server) if key is True else key
        page.goto(server.url + (f"/#key={key}" if key else "/"))
        if key:
            expect(page.locator("#server")).to_have_attribute("data-state", re.compile("ready|starting"))
        return page

    def set_size(self, page, width, height):
        page.get_by_label("Width", exact=True).fill(str(width))
        page.get_by_label("Height", exact=True).fill(str(height))

    def draw(self, page, prompt, size=(256, 256)):
        """Asked for, not waited for: the piece that stands on the easel then."""
        if size:
            self.set_size(page, *size)
        pieces = page.locator(".piece")
        count = pieces.count()
        page.get_by_label("Prompt", exact=True).fill(prompt)
        page.get_by_role("button", name="Draw").click()
        expect(pieces).to_have_count(count + 1)
        return pieces.first

    def wait_until_drawn(self, piece, state="COMPLETED"):
        expect(piece).to_have_attribute("data-state", state, timeout=PATIENCE_MS)
        return piece

    def details(self, piece):
        return piece.locator(".details").inner_text().replace("\u00a0", " ")

    def seed_of(self, piece):
        return int(re.search(r"Seed (\d+)", self.details(piece)).group(1))

    def file_name(self, piece):
        words = re.findall(r"\w+", piece.get_by_role("heading").inner_text().lower())
        return f"{'-'.join(words)}-{self.seed_of(piece)}.png"

    def download(self, page, piece):
        with page.expect_download() as download:
            piece.get_by_role("link", name="Download").click()
        self.assertEqual(download.value.suggested_filename, self.file_name(piece))
        return Path(download.value.path()).read_bytes()

    def transfer(self, page, name, data):
        """A DataTransfer with a file, as a drop or a paste brings it."""
        return page.evaluate_handle("""([name, data]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], name, { type: "image/png" }));
            return transfer;
        }""", [name, base64.b64encode(data).decode()])

    def drop(self, page, name, data):
        page.dispatch_event("#wall", "drop", {"dataTransfer": self.transfer(page, name, data)})

    def focused(self, page):
        return page.evaluate("() => document.activeElement.id || document.activeElement.className")


@needs_browser
class Nano(Browsing, ClientTest):
    """With the model in the box."""
    flags = ("--model", NANO)

    def test_type_and_draw(self):
        page = self.open(self.server)
        self.assertNotIn("easel_", page.url)
        expect(page.get_by_text("Ready with nano")).to_be_visible()
        expect(page.get_by_role("heading", name="What shall we draw?")).to_be_visible()
        page.get_by_role("button", name="a red apple on a blue background").click()
        expect(page.get_by_label("Prompt", exact=True)).to_have_value("a red apple on a blue background")
        expect(page.locator("#passing")).to_contain_text("Press Draw")
        page.keyboard.press("Control+Enter")
        self.assertFalse(page.locator("#passing").is_visible())
        piece = self.wait_until_drawn(page.locator(".piece").first)
        picture = piece.get_by_role("img", name="a red apple on a blue background")
        expect(picture).to_be_visible()
        self.assertEqual(picture.evaluate("(p) => p.decode().then(() => [p.naturalWidth, p.naturalHeight])"),
                         [1024, 768])
        self.assertRegex(self.details(piece), r"^Seed \d+\n1024 × 768 · [\d.]+ (s|min .*) · 1 credit$")
        expect(page.locator("#live")).to_have_text(re.compile("^Done in .*a red apple"))
        steps = [d for d in page.evaluate("() => witnessed.details") if d.startswith("Drawing, step")]
        self.assertTrue(steps)
        self.assertEqual(size_of(self.download(page, piece)), (1024, 768))

    def test_again_and_vary(self):
        page = self.open(self.server)
        first = self.download(page, self.wait_until_drawn(self.draw(page, "a panda on yellow")))
        page.locator(".piece").first.get_by_role("button", name="Again").click()
        expect(page.locator(".piece")).to_have_count(2)
        again = self.download(page, self.wait_until_drawn(page.locator(".piece").first))
        self.assertEqual(again, first)
        page.locator(".piece").first.get_by_role("button", name="Vary").click()
        expect(page.locator(".piece")).to_have_count(3)
        self.wait_until_drawn(page.locator(".piece").first)
        seeds = [self.seed_of(page.locator(".piece").nth(n)) for n in range(3)]
        self.assertEqual(seeds[1], seeds[2])
        self.assertNotEqual(seeds[0], seeds[1])

    def test_seed_stays_when_locked(self):
        page = self.open(self.server)
        drawn = self.seed_of(self.wait_until_drawn(self.draw(page, "a fox")))
        page.get_by_role("button", name="Keep this seed").click()
        expect(page.get_by_label("Seed", exact=True)).to_have_value(str(drawn))
        self.assertEqual(self.seed_of(self.wait_until_drawn(self.draw(page, "a rose"))), drawn)
        page.get_by_role("button", name="Keep this seed").click()
        expect(page.get_by_label("Seed", exact=True)).to_have_value("")
        page.get_by_label("Seed", exact=True).fill("7")
        expect(page.get_by_role("button", name="Keep this seed")).to_have_attribute("aria-pressed", "true")
        self.assertEqual(self.seed_of(self.wait_until_drawn(self.draw(page, "a rose"))), 7)

    def test_enhanced_prompt_is_shown(self):
        page = self.open(self.server)
        page.get_by_role("switch", name="Enhance").check()
        piece = self.wait_until_drawn(self.draw(page, "a cat"))
        expect(piece.get_by_text("Drawn as: ")).to_be_visible()
        expect(piece.get_by_role("heading")).to_have_text("a cat")

    def test_model_of_one_reference_says_so_beside_the_pictures(self):
        page = self.open(self.server)
        page.get_by_label("Choose pictures").set_input_files(
            [{"name": name, "mimeType": "image/png", "buffer": png()} for name in ("blue.png", "bluer.png")])
        expect(page.get_by_role("button", name="Picture 2: bluer.png", exact=True)).to_be_visible()
        page.get_by_label("Prompt", exact=True).fill("these two together")
        page.get_by_role("button", name="Draw").click()
        expect(page.locator("#pictures-error")).to_contain_text(
            "Picture 2: the model of this server takes at most 1 picture")
        expect(page.locator(".piece")).to_have_count(0)
        page.get_by_role("button", name="Remove picture 2, bluer.png").click()
        page.get_by_role("button", name="Remove picture 1, blue.png").click()
        self.wait_until_drawn(self.draw(page, "a frog on white"))
        expect(page.locator("#pictures-error")).to_be_empty()

    def test_keyboard_only(self):
        page = self.open(self.server, key=False)
        page.keyboard.type(self.new_key(self.server))
        page.keyboard.press("Enter")
        expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
        page.keyboard.type("a red apple on a blue background")
        way = []
        while (here := self.focused(page)) != "draw":
            way.append(here)
            self.assertLess(len(way), 20, way)
            if here.endswith("slider"):
                page.keyboard.press("Home")
            if here == "seed-lock":
                page.keyboard.press("Space")
            page.keyboard.press("Tab")
        self.assertEqual(way, ["prompt", "pick", "", "width-slider", "width", "height-slider", "height",
                               "seed", "seed-lock", "enhance"])
        page.keyboard.press("Enter")
        piece = self.wait_until_drawn(page.locator(".piece").first)
        self.assertIn("256 × 256", self.details(piece))
        page.keyboard.press("Tab")
        expect(piece.get_by_role("button", name="Look closer")).to_be_focused()
        self.assertNotEqual(piece.locator(".canvas").evaluate("(e) => getComputedStyle(e).outlineStyle"), "none")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog", name="Picture")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog", name="Picture")).to_be_hidden()
        expect(piece.get_by_role("button", name="Look closer")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".piece")).to_have_count(2)

    def test_phone(self):
        page = self.open(self.server, width=390, height=844, is_mobile=True, has_touch=True)
        expect(page.get_by_role("button", name="Draw")).to_be_in_viewport()
        piece = self.wait_until_drawn(self.draw(page, "a penguin"))
        expect(piece.get_by_role("img", name="a penguin")).to_be_in_viewport()
        self.assertEqual(page.evaluate("() => document.documentElement.scrollWidth"), 390)
        for button in page.locator("button:visible, a:visible:not(.skip), input:visible").all():
            box = button.bounding_box()
            self.assertGreaterEqual(min(box["width"], box["height"]), 22, button.get_attribute("id"))
        piece.get_by_role("button", name="Look closer").tap()
        self.assertLessEqual(page.get_by_role("dialog").bounding_box()["width"], 390)
        page.get_by_role("button", name="Close", exact=True).tap()
        expect(page.get_by_role("dialog")).to_be_hidden()

    def test_wall_comes_back_and_knows_what_others_asked_for(self):
        page = self.open(self.server)
        self.wait_until_drawn(self.draw(page, "a star on black"))
        elsewhere = self.server.submit(key=self.key, prompt="a lion")
        self.server.wait_for_status(elsewhere, "COMPLETED", key=self.key)
        page.reload()
        theirs = page.locator(".piece").filter(has_text="a lion")
        expect(theirs.get_by_role("link", name="Download")).to_be_visible()
        # it may have been made from pictures, which the server does not tell
        expect(theirs.get_by_role("button", name="Again")).to_be_hidden()
        expect(page.get_by_role("img", name="a star on black")).to_be_visible()
        mine = page.locator(".piece").filter(has_text="a star on black")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.locator(f'.piece a[href*="{self.file_of(elsewhere)}"]')).to_be_visible()
        mine.get_by_role("button", name="Remove").click()
        page.reload()
        expect(page.locator(f'.piece a[href*="{self.file_of(elsewhere)}"]')).to_be_visible()
        expect(mine).to_have_count(0)

    def file_of(self, task_id):
        return re.search(r"/v1/files/([^?]+)", self.server.task(task_id, self.key)["generated"][0]).group(1)


@needs_browser
class Stub(Browsing, ClientTest):
    """Plain pictures at once, and references are taken."""

    def test_key_panel(self):
        page = self.open(self.server, key=False)
        panel = page.get_by_role("dialog", name="Your key, please")
        expect(panel).to_be_visible()
        panel.get_by_label("Key", exact=True).fill("easel_wrong")
        page.keyboard.press("Enter")
        expect(panel.locator("#key-error")).to_contain_text("does not know this key")
        expect(panel.get_by_label("Key", exact=True)).to_have_attribute("aria-invalid", "true")
        panel.get_by_label("Key", exact=True).fill(self.server.key)
        panel.get_by_role("button", name="Use this key").click()
        expect(panel).to_be_hidden()
        page.reload()
        expect(page.get_by_text("Ready with")).to_be_visible()
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.get_by_role("button", name="Key").click()
        expect(page.get_by_label("Key", exact=True)).to_have_attribute("aria-invalid", "false")
        expect(page.get_by_role("dialog", name="Your key").get_by_text("Credits left")).to_be_visible()
        page.get_by_role("button", name="Forget key and pictures").click()
        expect(panel).to_be_visible()
        self.assertNotIn(self.server.key, page.evaluate("() => JSON.stringify({ ...localStorage })"))

    def test_revoked_key_brings_the_panel_and_then_the_picture(self):
        page = self.open(self.server)
        expect(page.get_by_text("Ready with")).to_be_visible()
        self.easel_key(self.server, "revoke", self._testMethodName[:60])
        piece = self.draw(page, "a cat")
        panel = page.get_by_role("dialog", name="Your key, please")
        expect(panel.locator("#key-error")).to_contain_text("does not know this key")
        panel.get_by_label("Key", exact=True).fill(self.server.key)
        page.keyboard.press("Enter")
        expect(panel).to_be_hidden()
        self.wait_until_drawn(piece)

    def test_faults_stand_beside_their_fields(self):
        page = self.open(self.server)
        page.get_by_label("Width", exact=True).fill("255")
        page.get_by_label("Seed", exact=True).fill("4294967296")
        page.get_by_role("button", name="Draw").click()
        expect(page.locator("#prompt-error")).to_contain_text("is missing")
        expect(page.locator("#size-error")).to_contain_text("from 256 to 1440")
        expect(page.locator("#seed-error")).to_contain_text("4294967295")
        expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
        expect(page.get_by_label("Prompt", exact=True)).to_have_attribute("aria-invalid", "true")
        expect(page.locator(".piece")).to_have_count(0)

    def test_sizes_are_linked(self):
        page = self.open(self.server)
        for name, width, height in (("1:1", 1024, 1024), ("9:16", 810, 1440), ("16:9", 1440, 810)):
            page.get_by_role("radio", name=name).check()
            expect(page.get_by_label("Width", exact=True)).to_have_value(str(width))
            expect(page.get_by_label("Height", exact=True)).to_have_value(str(height))
        page.get_by_role("slider", name="Width").fill("512")
        expect(page.get_by_label("Width", exact=True)).to_have_value("512")
        expect(page.get_by_role("radio", checked=True)).to_have_count(0)
        page.get_by_label("Height", exact=True).fill("1024")
        expect(page.get_by_role("slider", name="Height")).to_have_value("1024")
        expect(page.locator("#megapixels")).to_contain_text("0.5 megapixels")
        self.assertIn("512 × 1024", self.details(self.wait_until_drawn(self.draw(page, "a cat", size=None))))

    def test_pictures_by_drop_paste_and_file(self):
        page = self.open(self.server)
        self.drop(page, "dropped.png", png())
        expect(page.get_by_role("button", name="Picture 1: dropped.png", exact=True)).to_be_visible()
        self.assertEqual(page.locator(".slot canvas").first.evaluate(
            "(c) => [...c.getContext('2d').getImageData(80, 80, 1, 1).data]"), [0x40, 0x80, 0xC0, 255])
        page.evaluate("""(clipboardData) => document.dispatchEvent(
            new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }))""",
                      self.transfer(page, "pasted.png", png(80, 64)))
        expect(page.get_by_role("button", name="Picture 2: pasted.png", exact=True)).to_be_visible()
        page.get_by_label("Choose pictures").set_input_files(
            [{"name": f"file-{n}.png", "mimeType": "image/png", "buffer": png()} for n in (3, 4, 5)])
        expect(page.get_by_role("button", name="Picture 4: file-4.png", exact=True)).to_be_visible()
        expect(page.locator("#pictures-error")).to_contain_text("file-5.png is one too many")
        self.wait_until_drawn(self.draw(page, "these together"))

    def test_bad_pictures_are_told_at_once(self):
        page = self.open(self.server)
        for name, data, reason in (("text.png", b"no picture", "not a picture"), ("small.png", png(63, 64), "too small"),
                                   ("thin.png", png(64, 640), "8 to 1")):
            self.drop(page, name, data)
            expect(page.locator("#pictures-error")).to_contain_text(f"{name} is {reason}" if reason != "8 to 1" else reason)
        expect(page.get_by_role("button", name="Add picture 1")).to_be_visible()

    def test_edit_this_and_again_after_a_reload(self):
        page = self.open(self.server)
        piece = self.wait_until_drawn(self.draw(page, "a cat", size=(320, 256)))
        name = self.file_name(piece)
        self.set_size(page, 256, 512)
        piece.get_by_role("button", name="Edit this").click()
        expect(page.get_by_role("button", name=f"Picture 1: {name}", exact=True)).to_be_visible()
        expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
        expect(page.get_by_label("Width", exact=True)).to_have_value("320")
        expect(page.get_by_label("Height", exact=True)).to_have_value("256")
        self.wait_until_drawn(self.draw(page, "on the moon", size=None))
        page.reload()
        with page.expect_request(lambda r: r.method == "POST") as sent:
            page.locator(".piece").filter(has_text="on the moon").get_by_role("button", name="Again").click()
        self.assertTrue(sent.value.post_data_json["input_image"].startswith("data:image/png;base64,"))
        expect(page.locator('.piece[data-state="COMPLETED"]').filter(has_text="on the moon")).to_have_count(2)

    def test_axe_finds_nothing(self):
        if not Axe:
            self.skipTest("the package axe-playwright-python is not installed")
        key = self.new_key(self.server)
        for scheme in ("light", "dark"):
            page = self.open(self.server, key=False, color_scheme=scheme)
            self.check_with_axe(page, "the key panel")
            page.keyboard.type(key)
            page.keyboard.press("Enter")
            expect(page.get_by_label("Prompt", exact=True)).to_be_focused()
            self.check_with_axe(page, "nothing drawn yet")
            self.drop(page, "blue.png", png())
            expect(page.get_by_role("button", name="Picture 1: blue.png", exact=True)).to_be_visible()
            self.wait_until_drawn(self.draw(page, "put it on a very, very green background, please. " * 40))
            page.get_by_role("button", name="Remove picture 1, blue.png").click()
            self.wait_until_drawn(self.draw(page, "a bee on grey"))
            self.check_with_axe(page, "two pictures")
            page.locator(".piece .canvas").nth(1).click()
            self.check_with_axe(page, "the large view")

    def check_with_axe(self, page, where):
        wrong = [(broken["id"], [node["target"] for node in broken["nodes"]])
                 for broken in Axe().run(page).response["violations"]]
        self.assertEqual(wrong, [], where)

    def test_removed_pictures_come_back(self):
        page = self.open(self.server)
        for prompt in ("one", "two", "three"):
            self.wait_until_drawn(self.draw(page, prompt))
        titles = page.locator(".piece .title")
        for undo in (lambda: page.get_by_role("button", name="Undo").click(),
                     lambda: page.keyboard.press("Control+z")):
            page.locator(".piece").nth(1).get_by_role("button", name="Remove").click()
            expect(titles).to_have_text(["three", "one"])
            undo()
            expect(titles).to_have_text(["three", "two", "one"])
            expect(page.get_by_role("button", name="Look closer: two")).to_be_focused()
            expect(page.get_by_role("button", name="Undo")).to_be_hidden()
        page.reload()
        expect(titles).to_have_text(["three", "two", "one"])
        page.locator(".piece").nth(1).get_by_role("button", name="Remove").click()
        page.reload()
        expect(titles).to_have_text(["three", "one"])

    def test_sources_are_shown(self):
        page = self.open(self.server)
        self.drop(page, "blue.png", png())
        expect(page.get_by_role("button", name="Picture 1: blue.png", exact=True)).to_be_visible()
        piece = self.wait_until_drawn(self.draw(page, "make it green"))
        for _ in range(2):
            source = piece.get_by_role("img", name="blue.png")
            self.assertEqual(source.evaluate("(p) => p.decode().then(() => p.naturalWidth)"), 72)
            page.reload()

    def test_time_left_follows_the_pace(self):
        page = self.open(self.server)
        said = page.evaluate("""async () => {
            const module = (name) => import(new URL(name, document.querySelector("script").src));
            const { absorb, newPiece } = await module("pieces.js");
            const { detailsText } = await module("wording.js");
            const piece = newPiece({ prompt: "a cat", width: 256, height: 256 });
            const start = performance.now();
            return [[0, 0.1], [10, 0.2], [20, 0.5], [50, 0.98]].map(([seconds, progress]) => {
                performance.now = () => start + seconds * 1000;
                absorb(piece, { status: "IN_PROGRESS", stage: "denoise", progress, step: 100 * progress, n_steps: 100 });
                return detailsText(piece).replaceAll("\u00a0", " ");
            });
        }""")
        self.assertEqual(said, ["Drawing, step 10 of 100",
                                "Drawing, step 20 of 100\n10 s, about 1 min left",
                                "Drawing, step 50 of 100\n20 s, about 25 s left",
                                "Drawing, step 98 of 100\n50 s"])

    def test_right_to_left(self):
        page = self.open(self.server)
        piece = self.wait_until_drawn(self.draw(page, "قطة على خلفية زرقاء"))
        direction = "(e) => getComputedStyle(e).direction"
        self.assertEqual(page.get_by_label("Prompt", exact=True).evaluate(direction), "rtl")
        self.assertEqual(piece.get_by_role("heading").evaluate(direction), "rtl")
        self.assertEqual(piece.locator(".details").evaluate(direction), "ltr")
        self.download(page, piece)

    def test_any_width(self):
        page = self.open(self.server)
        page.get_by_label("Seed", exact=True).fill("4294967295")
        for prompt in ("a cat", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3):
            self.wait_until_drawn(self.draw(page, prompt))
        for width in (320, 390, 640, 752, 820, 1024, 1280, 1440, 2560):
            page.set_viewport_size({"width": width, "height": 860})
            self.assertLessEqual(page.evaluate("() => document.documentElement.scrollWidth"), width)
            self.assertEqual(page.locator("#seed").evaluate("(e) => e.scrollWidth - e.clientWidth"), 0, width)
            ledge, canvas = (page.locator(f".piece {part}").first.bounding_box() for part in (".ledge", ".canvas"))
            self.assertLess(ledge["x"], canvas["x"], width)
            if width > 752:  # beside the form
                expect(page.locator(".piece .canvas").first).to_be_in_viewport(ratio=0.9)
                expect(page.get_by_role("button", name="Draw")).to_be_in_viewport(ratio=1)

    def test_forced_colours(self):
        """Where the page's own colours are taken away, what can be used still has an outline."""
        page = self.open(self.server, forced_colors="active")
        for name in ("Draw", "Keep this seed"):
            self.assertEqual(page.get_by_role("button", name=name).evaluate("(e) => getComputedStyle(e).borderTopStyle"),
                             "solid", name)
        for control in (page.get_by_role("slider", name="Width"), page.get_by_role("switch", name="Enhance")):
            self.assertEqual(control.evaluate("(e) => getComputedStyle(e).appearance"), "auto")

    def test_large_view_turns_with_the_arrows(self):
        page = self.open(self.server)
        for prompt in ("one", "two", "three"):
            self.wait_until_drawn(self.draw(page, prompt))
        page.get_by_role("button", name="Look closer: three").click()
        viewer = page.get_by_role("dialog", name="Picture")
        for key, title in (("ArrowRight", "two"), ("ArrowRight", "one"), ("ArrowLeft", "two")):
            page.keyboard.press(key)
            expect(viewer.locator("#view-title")).to_have_text(title)
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Look closer: two")).to_be_focused()

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_copied_curl_draws_the_same(self):
        page = self.open(self.server)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=self.server.url)
        prompt = "it's a \"cat\" for $5 & `more` \\ № 5!\nEOF"
        folder = Path(self.folder.name)
        (folder / "it's.png").write_bytes(png())
        self.check_curl(page, self.draw(page, prompt), folder, reads=[])
        self.drop(page, "it's.png", (folder / "it's.png").read_bytes())
        expect(page.get_by_role("button", name="Picture 1: it's.png", exact=True)).to_be_visible()
        piece = self.draw(page, prompt)
        self.check_curl(page, piece, folder, reads=["it's.png"])
        # a picture from the wall is on the server, and need not be in a folder
        page.get_by_role("button", name="Remove picture 1").click()
        piece.get_by_role("button", name="Edit this").click()
        expect(page.get_by_role("button", name="Picture 1:")).to_be_visible()
        with tempfile.TemporaryDirectory() as nothing:
            self.check_curl(page, self.draw(page, prompt), nothing, reads=[])

    def check_curl(self, page, piece, folder, reads):
        self.wait_until_drawn(piece)
        piece.get_by_role("button", name="Copy as curl").click()
        expect(page.locator("#passing")).to_contain_text("Copied")
        for name in reads:
            expect(page.locator("#passing")).to_contain_text(f"{name} from its folder")
        command = page.evaluate("() => navigator.clipboard.readText()")
        self.assertNotIn(self.key, command)
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=folder,
                              env=dict(os.environ, EASEL_KEY=self.key))
        self.assertEqual(done.stderr, "")
        task = self.server.wait_for_status(json.loads(done.stdout)["task_id"], "COMPLETED", key=self.key)
        self.assertEqual(task["seed"], self.seed_of(piece))
        url = piece.get_by_role("link", name="Download").get_attribute("href")
        theirs = re.sub("^https?://[^/]+", "", task["generated"][0])
        self.assertEqual(self.server.request("GET", theirs), self.server.request("GET", url))

    def test_dark_and_light(self):
        def background(page):
            red, green, blue = re.findall(r"\d+", page.locator("#desk").evaluate("(e) => getComputedStyle(e).backgroundColor"))
            return int(red) + int(green) + int(blue)

        page = self.open(self.server, color_scheme="dark")
        self.assertLess(background(page), 3 * 60)
        page.get_by_role("button", name="Theme").click()
        self.assertGreater(background(page), 3 * 200)
        page.reload()
        self.assertGreater(background(page), 3 * 200)
        page.get_by_role("button", name="Theme: light").click()
        page.get_by_role("button", name="Theme: dark").click()
        expect(page.get_by_role("button", name="Theme: as the system has it")).to_be_visible()

    def test_too_many_requests_are_counted_down(self):
        page = self.open(self.server, key=self.new_key(self.server, "--rate", "1"))
        self.wait_until_drawn(self.draw(page, "one"))
        piece = self.draw(page, "two")
        expect(piece.locator(".details")).to_have_text(re.compile(r"^Too many requests; sent again in \d+ s$"))
        piece.get_by_role("button", name="Cancel").click()
        expect(piece.locator(".details")).to_have_text("Cancelled")

    def test_pictures_that_glide(self):
        """The one test with motion: pictures change places while others form."""
        page = self.open(self.server, reduced_motion="no-preference")
        for prompt in ("one", "two", "three"):
            self.draw(page, prompt)
        expect(page.locator('.piece[data-state="COMPLETED"]')).to_have_count(3, timeout=PATIENCE_MS)
        titles = page.locator(".piece .title").all_inner_texts()
        self.assertEqual(titles, ["three", "two", "one"])


@needs_browser
class Surroundings(Browsing, ServiceTest):
    """Servers that are slow, away, without a worker, or forget soon."""

    def test_picture_forms_step_by_step(self):
        server = self.serve("--model", self.slow_model(8))
        page = self.open(server)
        piece = self.draw(page, "a cat")
        expect(piece.locator(".preview")).to_be_visible()
        expect(piece.get_by_role("progressbar", name="Progress of a cat")).to_be_visible()
        self.wait_until_drawn(piece)
        seen = page.evaluate("() => ({ previews: witnessed.previews.size, details: witnessed.details })")
        self.assertGreaterEqual(seen["previews"], 3)
        self.assertGreaterEqual(len([d for d in seen["details"] if re.match(r"Drawing, step \d+ of 8", d)]), 3)
        expect(piece.locator(".preview")).to_be_hidden()

    def test_running_picture_is_cancelled(self):
        server = self.serve("--model", self.slow_model(1000))
        page = self.open(server)
        piece = self.draw(page, "a cat")
        expect(piece.locator(".details")).to_contain_text("Drawing, step")
        piece.get_by_role("button", name="Cancel").click()
        self.wait_until_drawn(piece, "FAILED")
        expect(piece.locator(".details")).to_have_text("Cancelled")
        expect(piece.get_by_role("button", name="Again")).to_be_visible()

    def test_waiting_without_a_worker(self):
        page = self.open(self.serve("--workers", 0))
        expect(page.get_by_text("The worker is getting ready")).to_be_visible()
        first = self.draw(page, "first")
        expect(first.locator(".details")).to_have_text("Waiting, next in line")
        second = self.draw(page, "second")
        expect(second.locator(".details")).to_have_text("Waiting, 1 before it")
        second.get_by_role("button", name="Cancel").click()
        expect(second.locator(".details")).to_have_text("Cancelled")

    def test_server_away_and_back(self):
        server = self.serve("--stub")
        server.wait_for_worker()
        page = self.open(server)
        self.wait_until_drawn(self.draw(page, "before"))
        server.kill()
        piece = self.draw(page, "meanwhile")
        expect(page.get_by_role("alert")).to_contain_text("The server is away")
        expect(page.locator("#server")).to_have_attribute("data-state", "away")
        expect(piece.locator(".details")).to_have_text("It is sent when the server is back")
        expect(piece.locator(".blank")).to_have_text("Waiting for the server")
        # so long that it does not try by itself while the server starts
        expect(page.get_by_role("alert")).to_contain_text(re.compile(r"again in 1[45] s"))
        self.serve("--stub", listen=server.url.removeprefix("http://"))
        page.get_by_role("button", name="Try now").click()
        self.wait_until_drawn(piece)
        expect(page.get_by_role("alert")).to_be_hidden()

    def test_title_tells_how_far_it_is(self):
        page = self.open(self.serve("--model", self.slow_model(1000)))
        expect(page).to_have_title("Easel")
        piece = self.draw(page, "a cat")
        expect(page).to_have_title(re.compile(r"^\d+\u00a0% · Easel$"))
        piece.get_by_role("button", name="Cancel").click()
        expect(page).to_have_title("Easel")
        # no tab of this browser is ever hidden
        page.evaluate("() => Object.defineProperty(document, 'hidden', { get: () => globalThis.away })")
        page.evaluate("() => { globalThis.away = true; }")
        piece = self.draw(page, "a dog")
        piece.get_by_role("button", name="Cancel").click()
        expect(page).to_have_title("Done · Easel")
        page.evaluate("() => { globalThis.away = false; document.dispatchEvent(new Event('visibilitychange')); }")
        expect(page).to_have_title("Easel")

    def test_expired_picture_is_told(self):
        server = self.serve("--stub", "--result-hours", 0.0004)
        server.wait_for_worker()
        page = self.open(server)
        piece = self.wait_until_drawn(self.draw(page, "a cat"))
        url = page.evaluate("() => document.querySelector('.piece a[data-do=download]').getAttribute('href')")
        while server.request("GET", url)[0] == 200:
            page.wait_for_timeout(200)
        page.reload()
        expect(piece.get_by_text("This picture has expired")).to_be_visible()
        expect(piece.get_by_role("link", name="Download")).to_be_hidden()
        expect(piece.get_by_role("button", name="Again")).to_be_visible()


if __name__ == "__main__":
    tap.main(__name__)
