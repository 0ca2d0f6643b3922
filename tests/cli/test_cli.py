#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The command line as its users meet it: pictures, messages, exit codes."""
import fcntl
import json
import os
import pty
import re
import resource
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

EASEL = os.environ["EASEL_PROGRAM"]
ROOT = Path(os.environ["EASEL_SOURCE_ROOT"])
TINY = ROOT / "tests" / "data" / "pipeline" / "model"
REFERENCE = ROOT / "tests" / "data" / "pipeline" / "ref-300x270.png"


def png_pixels(data):
    """Width, height and RGB rows of an 8-bit RGB PNG, without a library."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        chunk = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", chunk[:10])
            assert (depth, colour) == (8, 2)
        elif kind == b"IDAT":
            body += chunk
        at += 12 + size
    return width, height, zlib.decompress(body)


def unfilter(data, width, height):
    """PNG's filtered rows of 8-bit RGB to plain bytes."""
    stride, out = 3 * width, bytearray()
    previous = bytearray(stride)
    for row in range(height):
        kind, line = data[row * (stride + 1)], bytearray(data[row * (stride + 1) + 1:][:stride])
        for i in range(stride):
            left = line[i - 3] if i >= 3 else 0
            corner = previous[i - 3] if i >= 3 else 0
            above = previous[i]
            if kind == 1:
                add = left
            elif kind == 2:
                add = above
            elif kind == 3:
                add = (left + above) // 2
            elif kind == 4:
                estimate = left + above - corner
                add = min((left, above, corner), key=lambda v: abs(estimate - v))
            else:
                add = 0
            line[i] = (line[i] + add) & 255
        out += line
        previous = line
    return out


def in_bfl_layout(source, target):
    """A transformer's safetensors file in diffusers' layout, written in Black Forest Labs'."""
    data = source.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    out, parts = {}, []

    def put(name, *sources):
        found = [header[s + ".weight"] for s in sources]
        payload = b"".join(body[slice(*f["data_offsets"])] for f in found)
        if name == "final_layer.adaLN_modulation.1.weight":  # shift first there, scale first here
            payload = payload[len(payload) // 2:] + payload[:len(payload) // 2]
        at = sum(map(len, parts))
        out[name] = {"dtype": found[0]["dtype"], "data_offsets": [at, at + len(payload)],
                     "shape": [sum(f["shape"][0] for f in found), *found[0]["shape"][1:]]}
        parts.append(payload)

    for name, old in (("img_in", "x_embedder"), ("txt_in", "context_embedder"),
                      ("time_in.in_layer", "time_guidance_embed.timestep_embedder.linear_1"),
                      ("time_in.out_layer", "time_guidance_embed.timestep_embedder.linear_2"),
                      ("double_stream_modulation_img.lin", "double_stream_modulation_img.linear"),
                      ("double_stream_modulation_txt.lin", "double_stream_modulation_txt.linear"),
                      ("single_stream_modulation.lin", "single_stream_modulation.linear"),
                      ("final_layer.adaLN_modulation.1", "norm_out.linear"), ("final_layer.linear", "proj_out")):
        put(name + ".weight", old)
    for i in range(100):
        old, new = f"transformer_blocks.{i}.", f"double_blocks.{i}."
        if old + "attn.to_q.weight" not in header:
            break
        for side, q, k, v, proj, norm, ff in (("img", "to_q", "to_k", "to_v", "to_out.0", "norm_", "ff"), (
                "txt", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "norm_added_", "ff_context")):
            put(f"{new}{side}_attn.qkv.weight", *(f"{old}attn.{n}" for n in (q, k, v)))
            put(f"{new}{side}_attn.proj.weight", f"{old}attn.{proj}")
            put(f"{new}{side}_attn.norm.query_norm.scale", f"{old}attn.{norm}q")
            put(f"{new}{side}_attn.norm.key_norm.scale", f"{old}attn.{norm}k")
            put(f"{new}{side}_mlp.0.weight", f"{old}{ff}.linear_in")
            put(f"{new}{side}_mlp.2.weight", f"{old}{ff}.linear_out")
    for i in range(100):
        old, new = f"single_transformer_blocks.{i}.attn.", f"single_blocks.{i}."
        if old + "to_out.weight" not in header:
            break
        put(new + "linear1.weight", old + "to_qkv_mlp_proj")
        put(new + "linear2.weight", old + "to_out")
        put(new + "norm.query_norm.scale", old + "norm_q")
        put(new + "norm.key_norm.scale", old + "norm_k")
    text = json.dumps(out).encode()
    target.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


class Cli(unittest.TestCase):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="easel-cli-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def easel(self, *args, stdin="", env=None, **kwargs):
        environment = {**os.environ, "EASEL_MODELS": "", "HOME": str(self.dir), **(env or {})}
        return subprocess.run([EASEL, *map(str, args)], cwd=self.dir, input=stdin, text=True,
                              capture_output=True, env=environment, timeout=300, **kwargs)

    def draw(self, *args, **kwargs):
        return self.easel("draw", *args, "-m", TINY, "--steps", 1, **kwargs)

    def assertFails(self, done, code, *needles):
        self.assertEqual(done.returncode, code, done.stderr)
        for needle in needles:
            self.assertIn(needle, done.stderr)
        self.assertTrue(done.stderr.startswith("easel: "), done.stderr)
        self.assertLessEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def files(self):
        return sorted(p.name for p in self.dir.iterdir())

    # ---- drawing ----

    def test_draws_an_exact_size(self):
        done = self.draw("a cat", "-o", "cat.png", "-s", "257x300", "--seed", 5)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(png_pixels((self.dir / "cat.png").read_bytes())[:2], (257, 300))
        self.assertIn("cat.png  257x300  seed 5  1 steps", done.stdout)
        self.assertEqual(self.files(), ["cat.png"])

    def test_same_seed_same_bytes_other_seed_other_bytes(self):
        for name, seed, threads in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
            done = self.draw("a cat", "-o", f"{name}.png", "-s", "256x256", "--seed", seed,
                             "--threads", threads)
            self.assertEqual(done.returncode, 0, done.stderr)
        a, b, c = ((self.dir / f"{n}.png").read_bytes() for n in "abc")
        self.assertEqual(a, b)
        self.assertNotEqual(a, c)

    def test_formats(self):
        for name, start in (("x.png", b"\x89PNG"), ("x.jpg", b"\xff\xd8\xff"), ("x.webp", b"RIFF")):
            done = self.draw("a cat", "-o", name, "-s", "256x256")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue((self.dir / name).read_bytes().startswith(start))

    def test_count_numbers_the_files_and_seeds(self):
        done = self.draw("a cat", "-o", "c.png", "-s", "256x256", "--seed", 4294967295, "-n", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.files(), ["c-1.png", "c-2.png"])
        self.assertIn("seed 4294967295", done.stdout)
        self.assertIn("seed 0 ", done.stdout)

    def test_json_is_one_object_and_names_a_random_seed(self):
        done = self.draw("a cat", "--json", "-s", "256x256")
        self.assertEqual(done.returncode, 0, done.stderr)
        facts = json.loads(done.stdout)
        self.assertEqual((facts["width"], facts["height"], facts["steps"]), (256, 256, 1))
        self.assertEqual(facts["file"], f"easel-{facts['seed']}.png")
        self.assertTrue((self.dir / facts["file"]).exists())
        self.assertGreater(facts["seconds"]["denoise"], 0)
        self.assertGreaterEqual(facts["seconds"]["total"], facts["seconds"]["denoise"])
        self.assertGreater(facts["peak_memory_bytes"], 1 << 20)

    def test_reference_gives_the_size(self):
        done = self.draw("make it blue", "-i", REFERENCE, "-o", "r.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(png_pixels((self.dir / "r.png").read_bytes())[:2], (300, 270))

    def test_prompt_from_standard_input_and_picture_to_standard_output(self):
        environment = dict(os.environ, HOME=str(self.dir))
        done = subprocess.run([EASEL, "draw", "-", "-m", TINY, "--steps", "1", "-s", "256x256",
                               "-o", "-", "-q"], input=b"a cat\n", capture_output=True,
                              cwd=self.dir, env=environment, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(png_pixels(done.stdout)[:2], (256, 256))
        self.assertEqual(done.stderr, b"")
        self.assertEqual(self.files(), [])

    def test_enhanced_prompt_is_told_and_kept(self):
        done = self.draw("a cat", "--enhance", "-o", "e.png", "-s", "256x256", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(json.loads(done.stdout)["enhanced_prompt"])
        self.assertIn("enhanced_prompt", self.easel("show", "e.png").stdout)

    def test_plain_lines_when_not_on_a_terminal(self):
        done = self.draw("a cat", "-o", "a.png", "-s", "256x256")
        self.assertIn("step 1 of 1", done.stderr)
        self.assertNotIn("\r", done.stderr)
        self.assertNotIn("\033", done.stderr)

    def test_plain_lines_on_a_terminal_without_cursor(self):
        shown = self.on_terminal(TERM="dumb")
        self.assertIn(b"step 1 of", shown)
        self.assertNotIn(b"\033", shown)

    def on_terminal(self, *args, answer=b"", size=(24, 80), **env):
        """What a drawing writes to a terminal of its own, which answers what it is asked."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, size[1] * 8, size[0] * 16))
        clean = {k: v for k, v in os.environ.items()
                 if k not in ("KITTY_WINDOW_ID", "KONSOLE_VERSION", "TERM_PROGRAM", "LC_TERMINAL", "TMUX", "STY")}
        done = subprocess.Popen(
            [EASEL, "draw", "a cat", "-m", TINY, "-s", "256x256", "-o", "a.png", *args], cwd=self.dir,
            stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**clean, "TERM": "xterm-256color", **env})
        os.close(theirs)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
            if b"\033[c" in chunk:
                os.write(ours, answer)
        os.close(ours)
        self.assertEqual(done.wait(timeout=300), 0)
        return shown

    def test_bar_and_previews_on_a_terminal(self):
        shown = self.on_terminal("--preview", "--steps", "2", answer=b"\033_Gi=31;OK\033\\\033[?62;c")
        self.assertIn("step 2 of 2".encode(), shown)
        self.assertIn("│".encode(), shown)
        self.assertIn(b"\033_Ga=T,", shown)
        # room is made once; then up from the bar's line, the picture, and down to it again
        room = re.search(rb"(?:\r\n)+\r\033\[(\d+)A\0337\033_G", shown)
        self.assertEqual(room.group().count(b"\r\n"), int(room.group(1)))
        self.assertEqual(len(re.findall(rb"\r\033\[%sA\0337\033_G" % room.group(1), shown)), 2)
        self.assertEqual(shown.count(b"\0338\033[%sB" % room.group(1)), 2)
        self.assertEqual(shown.count(b"\r\n"), int(room.group(1)))

    def test_previews_as_sixels_and_in_a_small_window(self):
        shown = self.on_terminal("--preview", answer=b"\033[?62;4c", size=(10, 30))
        height = int(re.search(rb"\033P0;1q\"1;1;\d+;(\d+)", shown).group(1))
        self.assertLessEqual(height, 8 * 16)
        for line in re.findall(r"\r\033\[K([^\r\033]*)", shown.decode()):
            self.assertLessEqual(len(line), 27)
        self.assertNotIn(b"\033P", self.on_terminal("--preview", answer=b"\033[?62;4c", size=(4, 80)))

    def test_no_previews_where_they_would_be_rubbish(self):
        for answer, env, word in ((b"\033[?1;2c", {}, b"this terminal shows no pictures"),
                                  # from a kitty that an xterm was started in
                                  (b"\033[?1;2c", {"KITTY_WINDOW_ID": "1"}, b"this terminal"),
                                  (b"\033[?1;2c", {"TMUX": "x", "TERM_PROGRAM": "iTerm.app"}, b"this tmux"),
                                  (b"\033[?1;2c", {"STY": "x"}, b"screen shows no pictures")):
            shown = self.on_terminal("--preview", answer=answer, **env)
            self.assertIn(word, shown)
            self.assertNotIn(b"\033P", shown)
            self.assertNotIn(b"\033_Ga", shown)
            # a multiplexer would take kitty's question for a title
            self.assertEqual(b"\033_G" in shown, "TMUX" not in env and "STY" not in env)
        self.assertNotIn(b"\033", self.on_terminal("--preview", "-q"))

    def colours_of(self, name):
        """Mean colours of the middle and of the four corners of a PNG."""
        width, height, data = png_pixels((self.dir / name).read_bytes())
        pixels = unfilter(data, width, height)

        def mean(x0, y0, side):
            values = [pixels[(y * width + x) * 3:(y * width + x) * 3 + 3]
                      for y in range(y0, y0 + side, 8) for x in range(x0, x0 + side, 8)]
            return [sum(v[c] for v in values) / len(values) for c in range(3)]
        corners = [mean(x, y, 80) for x in (0, width - 80) for y in (0, height - 80)]
        return (width, height), mean(width // 2 - 100, height // 2 - 50, 200), corners

    def test_embedded_model_draws_and_edits(self):
        """The model in the box: a red apple in the middle of a blue picture, then of a green one."""
        done = self.easel("draw", "a red apple on a blue background", "--seed", 1, "-o", "a.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        size, middle, corners = self.colours_of("a.png")
        self.assertEqual(size, (1024, 768))
        self.assertGreater(middle[0], 1.5 * max(middle[1:]))
        for red, green, blue in corners:
            self.assertGreater(blue, 1.5 * max(red, green))
        done = self.easel("draw", "put it on a green background", "-i", "a.png", "--seed", 1, "-o", "b.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        size, middle, corners = self.colours_of("b.png")
        self.assertEqual(size, (1024, 768))
        self.assertGreater(middle[0], 1.5 * max(middle[1:]))
        for red, green, blue in corners:
            self.assertGreater(green, 1.3 * max(red, blue))

    def test_embedded_model_enhances(self):
        """It keeps the subject and the colour that was asked for, and chooses one that fits where none was."""
        enhanced = {}
        for prompt in ("puppy", "a rocket", "an apple", "a penguin on a red background"):
            done = self.easel("draw", prompt, "--enhance", "--seed", 1, "-s", "256x256", "-o", "e.png", "--json", "-q")
            self.assertEqual(done.returncode, 0, done.stderr)
            enhanced[prompt] = json.loads(done.stdout)["enhanced_prompt"]
        backgrounds = []
        for text, subject in zip(enhanced.values(), ("dog", "rocket", "apple", "penguin")):
            self.assertIn(subject, text)
            backgrounds.append(re.search(r"on a plain (\w+) background", text)[1])
        self.assertEqual(backgrounds.pop(), "red")
        self.assertGreaterEqual(len(set(backgrounds)), 2, enhanced)
        self.assertNotEqual(backgrounds[-1], "red", "an apple on its own colour")

    def test_embedded_model_refuses_what_it_never_learned(self):
        done = self.easel("draw", "these two together", "-i", REFERENCE, "-i", REFERENCE, "-o", "a.png", "-q")
        self.assertFails(done, 2, "nano", "takes at most 1")
        self.assertEqual(self.files(), [])

    # ---- what a picture says of itself ----

    def test_show_prints_a_command_that_draws_it_again(self):
        prompt = "it's a \"cat\" & a $dog\n№ 5"
        for name in ("a.png", "a.jpg", "a.webp"):
            done = self.draw(prompt, "-o", name, "-s", "256x272", "--seed", 9)
            self.assertEqual(done.returncode, 0, done.stderr)
            facts = json.loads(self.easel("show", name, "--json").stdout)
            self.assertEqual(facts["prompt"], prompt)
            self.assertEqual((facts["seed"], facts["size"], facts["steps"]),
                             ("9", "256x272", "1"))
        shown = self.easel("show", "a.png").stdout
        command = shlex.split(shown.split("Draw it again:\n")[1])
        self.assertEqual(command[:3], ["easel", "draw", prompt])
        command[command.index("-m") + 1] = str(TINY)
        done = self.easel(*command[1:], "-o", "again.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(png_pixels((self.dir / "a.png").read_bytes()),
                         png_pixels((self.dir / "again.png").read_bytes()))

    def redraw(self, name):
        """Run the command that a picture tells in a shell of its own; the file that it drew."""
        command = self.easel("show", name).stdout.split("Draw it again:\n")[1].replace("-m model", f"-m {shlex.quote(str(TINY))}")
        place = self.dir / "again"
        place.mkdir()
        done = subprocess.run(["bash", "-c", command], cwd=place, capture_output=True, timeout=300,
                              env=dict(os.environ, PATH=f"{Path(EASEL).parent}:{os.environ['PATH']}"))
        self.assertEqual(done.returncode, 0, done.stderr)
        drawn = [path.read_bytes() for path in place.iterdir()]
        shutil.rmtree(place)
        self.assertEqual(len(drawn), 1)
        return drawn[0]

    def test_the_command_draws_the_same_bytes(self):
        """Whatever the prompt, which may look like an option or a name of standard input, and
        whatever the format and the guidance."""
        for prompt, name in (("--seed 5", "a.png"), ("-x 'y'", "a.jpg"), ("-", "a.webp"), ("a\ncat \\", "a.png"),
                             ("it's \033[31mred\\ \x85", "a.png"), ("🍎 $HOME `id`\t", "a.jpg")):
            with self.subTest(prompt=prompt):
                done = self.easel("draw", "-o", name, "-m", TINY, "-s", "256x256", "--steps", 1, "--seed", 3,
                                  "--guidance", "1.23456789", "-q", *(["-"] if prompt == "-" else ["--", prompt]),
                                  stdin=prompt)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(json.loads(self.easel("show", name, "--json").stdout)["guidance"], "1.23456789")
                self.assertEqual(self.redraw(name), (self.dir / name).read_bytes())

    def test_a_strange_picture_commands_neither_terminal_nor_shell(self):
        def text(key, value):
            body = key + b"\0\0\0\0\0" + value
            return struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
        data = REFERENCE.read_bytes()
        (self.dir / "strange.png").write_bytes(
            data[:33] + text(b"prompt", b"a\033]0;title\a\xc2\x9b31m\nseed 5") + text(b"seed", b"1; touch owned") +
            text(b"model", b"x y$(touch owned)") + data[33:])
        done = self.easel("show", "strange.png")
        self.assertEqual(done.returncode, 0, done.stderr)
        for control in ("\033", "\a", "\x9b"):
            self.assertNotIn(control, done.stdout)
        self.assertIn("\n" + " " * 17 + "seed 5\n", done.stdout)
        command = done.stdout.split("Draw it again:\n")[1]
        subprocess.run(["bash", "-c", "easel() { :; };" + command], cwd=self.dir, timeout=60, check=True)
        self.assertEqual(self.files(), ["strange.png"])

    def test_single_files_are_told(self):
        """The same weights in Black Forest Labs' layout draw the same picture, which names them."""
        in_bfl_layout(TINY / "transformer" / "diffusion_pytorch_model.safetensors", self.dir / "part.safetensors")
        for name, args in (("own.png", []), ("part.png", ["--transformer", self.dir / "part.safetensors"])):
            done = self.draw("a cat", "-o", name, "-s", "256x256", "--seed", 1, *args)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(*(png_pixels((self.dir / name).read_bytes()) for name in ("own.png", "part.png")))
        shown = self.easel("show", "part.png").stdout
        self.assertIn(" --transformer part.safetensors ", shown)
        self.assertIn("put its folder after -m", shown)
        self.assertNotIn("--transformer", self.easel("show", "own.png").stdout)

    def test_show_without_metadata_and_without_picture(self):
        done = self.easel("show", REFERENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("carries no prompt", done.stdout)
        self.assertFails(self.easel("show", TINY / "model_index.json"), 1, "model_index.json")
        self.assertFails(self.easel("show", "none.png"), 1, "none.png")
        self.assertFails(self.easel("show"), 2, "name one picture")

    # ---- wrong command lines ----

    def test_wrong_usage(self):
        cases = [
            ([], "a prompt is missing"),
            (["a", "cat"], "more than one prompt"),
            ([" \n"], "prompt is empty"),
            (["a", "-s", "255x256"], "out of range"),
            (["a", "-s", "256x1441"], "out of range"),
            (["a", "-s", "big"], "WIDTHxHEIGHT"),
            (["a", "-s", "256x-256"], "WIDTHxHEIGHT"),
            (["a", "--seed", "-1"], "seed"),
            (["a", "--seed", "4294967296"], "seed"),
            (["a", "--seed", "1.5"], "seed"),
            (["a", "--steps", "0"], "steps"),
            (["a", "--guidance", "nan"], "guidance"),
            (["a", "-n", "0"], "count"),
            (["a", "--format", "gif"], "png, jpeg or webp"),
            (["a", "-o", "a.gif"], "a.gif"),
            (["a", "-o", "."], "."),
            (["a", "--rng", "mine"], "torch"),
            (["a", "--threads", "x"], "threads"),
            (["a", "--nonsense"], "--nonsense"),
            (["a", "-o", "-", "--json"], "standard output"),
            (["a", *(["-i", str(REFERENCE)] * 11)], "at most 10"),
        ]
        for args, needle in cases:
            with self.subTest(args=args):
                self.assertFails(self.draw(*args), 2, needle)
        self.assertEqual(self.files(), [])
        self.assertFails(self.easel("draw", "a", "-o"), 2, "-o")
        self.assertFails(self.easel("paint"), 2, "paint")
        self.assertEqual(self.easel().returncode, 2)

    def test_invalid_utf8_prompt(self):
        done = subprocess.run([EASEL.encode(), b"draw", b"caf\xe9", b"-m", os.fsencode(TINY)],
                              cwd=self.dir, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the prompt is not valid UTF-8 at byte 3 (0xe9)", done.stderr)

    # ---- bad surroundings ----

    def test_bad_pictures(self):
        (self.dir / "empty.png").write_bytes(b"")
        (self.dir / "text.png").write_bytes(b"hello")
        (self.dir / "cut.png").write_bytes(REFERENCE.read_bytes()[:200])
        ihdr = struct.pack(">IIBBBBB", 100000, 100000, 8, 2, 0, 0, 0)
        (self.dir / "bomb.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + ihdr +
            struct.pack(">I", zlib.crc32(b"IHDR" + ihdr)))
        for name in ("empty.png", "text.png", "cut.png", "bomb.png", "none.png"):
            with self.subTest(name=name):
                self.assertFails(self.draw("a", "-i", name, "-o", "o.png"), 1, name)
        self.assertFalse((self.dir / "o.png").exists())

    def test_references_that_cannot_be_used_are_named(self):
        def grey(width, height):
            ihdr = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
            chunks = ((b"IHDR", ihdr), (b"IDAT", zlib.compress(bytes((width + 1) * height))), (b"IEND", b""))
            return b"\x89PNG\r\n\x1a\n" + b"".join(
                struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
        (self.dir / "dot.png").write_bytes(grey(63, 300))
        (self.dir / "wide.png").write_bytes(grey(513, 64))
        self.assertFails(self.draw("a", "-i", REFERENCE, "-i", "dot.png"), 2, "dot.png: ", "63×300")
        self.assertFails(self.draw("a", "-i", "wide.png"), 2, "wide.png: ", "513×64", "8:1")

    def test_places_that_cannot_be_written_are_told_before_the_work(self):
        self.assertFails(self.draw("a", "-o", "no/such/a.png", "-q"), 1, "no/such/")
        self.assertFails(self.draw("a", "-o", f"{'n' * 300}.png", "-q"), 1, "too long")
        self.assertFails(self.draw("a", "-o", "", "-q"), 2, "is empty")
        if os.geteuid():
            self.skipTest("only root can become somebody else")

        def nobody():
            os.chdir("/")
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        done = self.draw("a", "--steps", 1000, preexec_fn=nobody)
        self.assertFails(done, 1, "cannot write to the folder .: ")

    def test_output_through_links_and_to_devices(self):
        (self.dir / "real.png").write_text("old")
        (self.dir / "link.png").symlink_to("real.png")
        (self.dir / "null.png").symlink_to("/dev/null")
        for name in ("link.png", "null.png", f"{'n' * 251}.png"):
            done = self.draw("a", "-o", name, "-s", "256x256")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue((self.dir / "link.png").is_symlink())
        self.assertEqual(png_pixels((self.dir / "real.png").read_bytes())[:2], (256, 256))
        self.assertTrue((self.dir / "null.png").is_symlink())
        self.assertTrue(Path("/dev/null").is_char_device())

    def test_standard_output_that_takes_nothing(self):
        with open("/dev/full", "w") as full:
            for args in (["draw", "a", "-m", TINY, "--steps", "1", "-s", "256x256", "-o", "a.png", "-q", "--json"],
                         ["draw", "a", "-m", TINY, "--steps", "1", "-s", "256x256", "-o", "a.png"],
                         ["--help"], ["version"], ["model", "list"], ["show", REFERENCE]):
                done = subprocess.run([EASEL, *map(str, args)], cwd=self.dir, stdout=full, text=True,
                                      stderr=subprocess.PIPE, timeout=300)
                self.assertEqual(done.returncode, 1, args)
                self.assertIn("cannot write to standard output", done.stderr)

    def test_closed_standard_streams_are_no_files(self):
        done = subprocess.run(["bash", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "-", EASEL, "draw", "a", "-m", TINY,
                               "--steps", "1", "-s", "256x256", "-o", "a.png"], cwd=self.dir, timeout=300)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(png_pixels((self.dir / "a.png").read_bytes())[:2], (256, 256))

    def test_json_of_a_name_that_is_no_utf8(self):
        done = subprocess.run([EASEL.encode(), b"draw", b"a", b"--json", b"-o", b"caf\xe9.png"],
                              cwd=self.dir, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"no UTF-8", done.stderr)
        self.assertEqual(self.files(), [])

    def test_full_disk(self):
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        done = self.easel("model", "random", "tiny", "t", preexec_fn=small_files)
        self.assertFails(done, 1, "cannot write t/")
        self.assertEqual(self.files(), [])
        done = self.draw("a", "-o", "a.png", "-s", "256x256", preexec_fn=small_files)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot write a.png", done.stderr)
        self.assertEqual(self.files(), [])

    def test_interrupt_stops_soon_and_leaves_nothing(self):
        done = subprocess.Popen([EASEL, "draw", "a", "-m", str(TINY), "--steps", "1000", "-s",
                                 "512x512", "-o", "a.png"], cwd=self.dir, stderr=subprocess.PIPE,
                                text=True)
        while "step 1 of" not in done.stderr.readline():
            self.assertIsNone(done.poll())
        done.send_signal(signal.SIGINT)
        started = time.monotonic()
        rest = done.communicate(timeout=120)[1]
        self.assertEqual(done.returncode, 130)
        self.assertIn("stopped", rest)
        self.assertLess(time.monotonic() - started, 60)
        self.assertEqual(self.files(), [])

    def test_interrupt_between_pictures_tells_how_many(self):
        done = subprocess.Popen([EASEL, "draw", "a", "-m", str(TINY), "--steps", "30", "-s", "256x256", "-n",
                                 "100", "-o", "a.png"], cwd=self.dir, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        self.assertIn("a-1.png", done.stdout.readline())
        done.send_signal(signal.SIGTERM)
        rest = done.communicate(timeout=300)[1]
        self.assertEqual(done.returncode, 130)
        self.assertEqual(int(re.search(r"stopped; (\d+) of 100 pictures", rest).group(1)), len(self.files()))

    # ---- models ----

    def copy_model(self):
        target = self.dir / "broken"
        shutil.copytree(TINY, target)
        return target

    def test_broken_models(self):
        def cut(path):
            path.write_bytes(path.read_bytes()[:-100])

        def other_class(path):
            path.write_text(path.read_text().replace("Flux2Transformer2DModel", "UNet2DModel"))

        def huge_header(path):
            data = bytearray(path.read_bytes())
            data[:8] = struct.pack("<Q", 1 << 60)
            path.write_bytes(data)

        def not_json(path):
            path.write_text("{")

        cases = [
            ("transformer/diffusion_pytorch_model.safetensors", cut),
            ("transformer/diffusion_pytorch_model.safetensors", huge_header),
            ("transformer/config.json", other_class),
            ("text_encoder/config.json", not_json),
            ("tokenizer/tokenizer.json", not_json),
            ("vae/diffusion_pytorch_model.safetensors", Path.unlink),
            ("scheduler/scheduler_config.json", not_json),
            ("model_index.json", not_json),
        ]
        for name, damage in cases:
            with self.subTest(name=name, damage=damage.__name__):
                model = self.copy_model()
                damage(model / name)
                done = self.easel("draw", "a", "-m", model, "-o", "a.png")
                self.assertFails(done, 1, name.split("/")[0])
                shutil.rmtree(model)
        self.assertEqual(self.files(), [])

    def test_nan_weights_are_told(self):
        model = self.copy_model()
        path = model / "transformer" / "diffusion_pytorch_model.safetensors"
        data = bytearray(path.read_bytes())
        data[-2000:] = b"\xff" * 2000
        path.write_bytes(data)
        done = self.easel("draw", "a", "-m", model, "-o", "a.png", "-s", "256x256")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("not a number", done.stderr)
        self.assertFalse((self.dir / "a.png").exists())

    def test_unknown_model_says_what_is_there(self):
        done = self.easel("draw", "a", "-m", "klein-900b")
        self.assertFails(done, 1, "klein-900b", "installed: ")

    def test_a_folder_of_the_same_name_does_not_hide_the_default(self):
        (self.dir / "nano").mkdir()
        self.assertEqual(self.easel("model", "show").returncode, 0)

    def test_model_list_and_show(self):
        env = {"EASEL_MODELS": str(TINY.parent)}
        done = subprocess.run([EASEL, "model", "list"], capture_output=True, text=True,
                              env=dict(os.environ, **env))
        self.assertEqual(done.returncode, 0)
        self.assertIn(str(TINY), done.stdout)
        listed = json.loads(self.easel("model", "list", "--json", env=env).stdout)
        self.assertIn({"name": "model", "folder": str(TINY), "error": None}, listed)
        self.assertFails(self.easel("model", "random", "tiny", "t", "--json"), 2, "random SHAPE DIR")
        shown = self.easel("model", "show", TINY)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        for word in ("transformer", "text encoder", "autoencoder", "memory", "licence"):
            self.assertIn(word, shown.stdout)
        facts = json.loads(self.easel("model", "show", TINY, "--json").stdout)
        self.assertEqual(len(facts["parts"]), 3)
        self.assertEqual(facts["steps"], 4)

    def test_memory_is_that_of_the_largest_part(self):
        """Parts of 1 GB and more are used one after the other; here two of 2 GB of nothing."""
        model, large = self.copy_model(), 2 << 30
        plain = json.loads(self.easel("model", "show", model, "--json").stdout)
        self.assertGreater(plain["memory_bytes"], sum(part["weight_bytes"] for part in plain["parts"]))
        for path in (model / "text_encoder" / "model.safetensors",
                     model / "transformer" / "diffusion_pytorch_model.safetensors"):
            data = path.read_bytes()
            size = struct.unpack("<Q", data[:8])[0]
            header, body = json.loads(data[8:8 + size]), data[8 + size:]
            header["filler"] = {"dtype": "F32", "shape": [large // 4], "data_offsets": [len(body), len(body) + large]}
            text = json.dumps(header).encode()
            path.write_bytes(struct.pack("<Q", len(text)) + text + body)
            os.truncate(path, 8 + len(text) + len(body) + large)
        shown = json.loads(self.easel("model", "show", model, "--json").stdout)
        self.assertEqual([part["weight_bytes"] >= large for part in shown["parts"]], [True, True, False])
        self.assertLess(large, shown["memory_bytes"])
        self.assertLess(shown["memory_bytes"], large + plain["memory_bytes"])

    def test_random_model_draws(self):
        done = self.easel("model", "random", "tiny", "t")
        self.assertEqual(done.returncode, 0, done.stderr)
        again = self.easel("model", "random", "tiny", "t")
        self.assertFails(again, 2, "there already")
        self.assertFails(self.easel("model", "random", "klein-5b", "k"), 2, "klein-5b")
        self.assertFails(self.easel("model", "random", "tiny", "no/such/t"), 1, "no/such/t")
        self.assertFails(self.easel("bench", "kernels", "--steps", 1), 2, "for bench model")
        done = self.easel("bench", "model", "t", "-s", "256x256", "--steps", 1, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        facts = json.loads(done.stdout)
        self.assertGreater(facts["seconds_per_step"], 0)
        for stage in ("text", "denoise", "decode"):
            numbers = facts["stages"][stage]
            self.assertAlmostEqual(numbers["gflops"] * numbers["seconds"] / 1000,
                                   numbers["tflop"], delta=1e-3 * numbers["tflop"])
            self.assertGreater(numbers["peak_gflops"], 0)
            self.assertLessEqual(numbers["peak_gflops"], facts["peak_gflops"])
        self.assertNotIn("references", facts["stages"])
        done = self.easel("bench", "model", "t", "-s", "256x256", "--steps", 1)
        self.assertRegex(done.stdout, r"denoise .* GFLOP .* GFLOP/s .* %")

    def test_random_dev_draws(self):
        """Another text encoder, its prompts padded on the left, and guidance as an input."""
        self.assertEqual(self.easel("model", "random", "tiny-dev", "d").returncode, 0)
        facts = json.loads(self.easel("model", "show", "d", "--json").stdout)
        self.assertEqual((facts["steps"], facts["guidance"], facts["uses_cfg"]), (50, 4.0, False))
        pictures = []
        for name, guidance in ("a.png", 4), ("b.png", 4), ("c.png", 3):
            done = self.easel("draw", "a cat", "-m", "d", "-o", name, "-s", "256x256", "--steps", 1,
                              "--seed", 1, "--guidance", guidance)
            self.assertEqual(done.returncode, 0, done.stderr)
            pictures.append(png_pixels((self.dir / name).read_bytes()))
        self.assertTrue(pictures[0] == pictures[1])
        self.assertTrue(pictures[0] != pictures[2])

    def test_cpu_levels(self):
        done = self.draw("a", "-o", "a.png", "-s", "256x256", env={"EASEL_CPU": "mmx"})
        self.assertFails(done, 2, "mmx", "avx2")
        done = self.easel("model", "show", TINY, env={"EASEL_CPU": "scalar"})
        self.assertIn("scalar kernels", done.stdout)

    def test_man_page_has_what_help_has(self):
        man = (ROOT / "man" / "easel.1").read_text().replace("\\-", "-")
        for command in ("draw", "show", "model", "bench", "serve", "worker", "key", "task", "webhook"):
            told = self.easel(command, "--help").stdout
            for option in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", told)):
                self.assertIn(option, man, command)
        for option in re.findall(r'{"([a-z-]+)", \w+_argument', (ROOT / "src" / "cli" / "draw.c").read_text()):
            if option != "help":
                self.assertIn(f"--{option}", self.easel("draw", "--help").stdout)

    def test_help_teaches(self):
        for args in (["--help"], ["draw", "--help"], ["show", "--help"], ["model", "--help"],
                     ["bench", "--help"]):
            done = self.easel(*args)
            self.assertEqual(done.returncode, 0)
            self.assertIn("easel", done.stdout)
            self.assertEqual(done.stderr, "")
        self.assertIn("Examples:", self.easel("draw", "--help").stdout)
        self.assertRegex(self.easel("--version").stdout, r"^easel \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    tap.main(__name__)
