#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libeasel exports what easel.h declares, and nothing else."""
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(os.environ["EASEL_SOURCE_ROOT"])
sys.path.insert(0, str(ROOT / "tests"))
import tap  # noqa: E402

LIBRARY = sys.argv.pop(1)


class Symbols(unittest.TestCase):
    def test_exports_are_the_header(self):
        header = (ROOT / "include" / "easel.h").read_text()
        declared = set(re.findall(r"EASEL_API[^;(]*?\*?\s*\*?(easel_\w+)\(", header))
        self.assertGreater(len(declared), 15)
        listing = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True,
                                 capture_output=True, text=True).stdout
        exported = {line.split()[-1].split("@")[0] for line in listing.splitlines()}
        exported -= {"_init", "_fini", "__bss_start", "_edata", "_end"}
        # the sanitizers' own
        exported = {s for s in exported if not re.match(r"_*(asan|ubsan|lsan|sancov)|__odr_asan", s)}
        self.assertEqual(exported, declared)

    def test_header_is_c_and_cxx(self):
        for language, standard in (("c", "c99"), ("c++", "c++11")):
            compiler = os.environ.get("EASEL_CC", "cc" if language == "c" else "c++")
            done = subprocess.run([compiler, "-fsyntax-only", f"-std={standard}", "-Wall",
                                   "-Wextra", "-Wpedantic", "-Werror", "-x", language,
                                   str(ROOT / "include" / "easel.h")], capture_output=True,
                                  text=True)
            if "c++" in language and "cc1plus" in done.stderr:
                continue  # a machine without a C++ compiler
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    tap.main(__name__)
