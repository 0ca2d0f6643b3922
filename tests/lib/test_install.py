#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `make install` leaves: a program that draws, and a library that examples/draw.c
compiles against with pkg-config alone, shared and static."""
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(os.environ["EASEL_SOURCE_ROOT"])
sys.path.insert(0, str(ROOT / "tests"))
import tap  # noqa: E402

BUILD, PREFIX = sys.argv.pop(1), sys.argv.pop(1)


@unittest.skipIf(os.environ["EASEL_SANITIZE"] != "none", "a program outside would need the sanitizers' runtime")
class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = Path(tempfile.mkdtemp(prefix="easel-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        cls.run_in(cls, "meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", cls.dir)
        cls.prefix = Path(f"{cls.dir}{PREFIX}")
        cls.libdir = next(cls.prefix.rglob("libeasel.a")).parent

    def run_in(self, *args, **env):
        # neither the user's models nor the source's
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("EASEL_", "XDG_"))}
        done = subprocess.run([*map(str, args)], cwd=self.dir, capture_output=True, text=True, timeout=300,
                              env={**clean, "HOME": str(self.dir), **env})
        if done.returncode:
            raise AssertionError(f"{args}: {done.stderr}")
        return done.stdout

    def pkg_config(self, *args):
        return shlex.split(self.run_in("pkg-config", *args, "easel", PKG_CONFIG_PATH=str(self.libdir / "pkgconfig"),
                                       PKG_CONFIG_SYSROOT_DIR=str(self.dir)))

    def compile(self, program, *flags):
        compiler = os.environ.get("EASEL_CC", "cc").split()
        self.run_in(*compiler, "-Wall", "-Wextra", "-Werror", ROOT / "examples" / "draw.c", *flags, "-o", program)

    def assertDraws(self, *command, **env):
        self.run_in(*command, "a red apple", "drawn.png", **env)
        self.assertTrue((self.dir / "drawn.png").read_bytes().startswith(b"\x89PNG"))
        (self.dir / "drawn.png").unlink()

    def test_program(self):
        program = self.prefix / "bin" / "easel"
        self.run_in(program, "draw", "a red apple", "-o", "drawn.png", "-q")
        self.assertIn(f"{self.prefix}/share/easel/models/nano", self.run_in(program, "model", "list"))
        self.assertTrue((self.prefix / "share" / "man" / "man1" / "easel.1").exists())

    def test_shared_library(self):
        self.compile("shared", *self.pkg_config("--cflags", "--libs"))
        self.assertDraws(self.dir / "shared", LD_LIBRARY_PATH=str(self.libdir))

    def test_static_library(self):
        flags = [str(self.libdir / "libeasel.a") if f == "-leasel" else f
                 for f in self.pkg_config("--static", "--cflags", "--libs")]
        self.compile("static", *flags)
        self.assertDraws(self.dir / "static", EASEL_MODELS=str(self.prefix / "share" / "easel" / "models"))
        # such a program may stand anywhere: it knows the folder that the library was made for
        self.assertIn(f"{PREFIX}/share/easel/models".encode(), (self.dir / "static").read_bytes())


if __name__ == "__main__":
    tap.main(__name__)
