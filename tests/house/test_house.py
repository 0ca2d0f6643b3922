#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules of the house that a compiler does not hold: which module may include
which, headers that stand alone, calls that are banned, licence lines."""
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

ROOT = Path(os.environ["EASEL_SOURCE_ROOT"])
SRC = ROOT / "src"

# module -> the modules it may include besides itself
MAY_INCLUDE = {
    "base": set(),
    "image": {"base"},
    "formats": {"base"},
    "kernels": {"base", "formats"},
    "models": {"base", "formats", "kernels"},
    "pipeline": {"base", "formats", "kernels", "models", "image"},
    "lib": {"base", "kernels", "image", "pipeline"},
    # the service: over easel.h, which only the worker and the commands use
    "crypto": {"base"},
    "store": {"base", "formats", "crypto"},
    "blobs": {"base", "crypto"},
    "http": {"base", "crypto"},
    "webhooks": {"base", "crypto", "store"},
    "worker": {"base", "store", "blobs"},
    "api": {"base", "formats", "image", "crypto", "store", "blobs", "http"},
    "service": {"base", "crypto", "store", "blobs", "http", "webhooks", "worker", "api"},
    "cli": {"base", "store", "service"},
}
BANNED = re.compile(r"\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|atof|strtok|gets|gmtime|"
                    r"localtime|system|rand|alloca)\s*\(")


def sources(pattern="*.[ch]"):
    return sorted(SRC.rglob(pattern)) + sorted((ROOT / "include").glob(pattern))


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\\n])*\"", '""', text, flags=re.S)


class House(unittest.TestCase):
    def test_includes_point_down(self):
        wrong = []
        for path in sorted(SRC.rglob("*.[ch]")):
            module = path.relative_to(SRC).parts[0]
            for target in re.findall(r'#include "([^"]+)"', path.read_text()):
                first = target.split("/")[0]
                if target == "easel.h" and module in ("lib", "worker", "service", "cli"):
                    continue
                if first != module and first not in MAY_INCLUDE[module]:
                    wrong.append(f"{path.relative_to(ROOT)} includes {target}")
                if target.endswith("_impl.h") and first != module:
                    wrong.append(f"{path.relative_to(ROOT)} includes private {target}")
                if "/" not in target and target != "easel.h":
                    wrong.append(f"{path.relative_to(ROOT)}: {target} without its module")
        self.assertEqual(wrong, [])

    def test_every_module_has_a_rule(self):
        self.assertEqual({p.name for p in SRC.iterdir() if p.is_dir()}, set(MAY_INCLUDE))

    def test_headers_compile_alone(self):
        compiler = os.environ.get("EASEL_CC", "cc").split()
        wrong = []
        for header in sources("*.h"):
            if "simd" in header.name:
                continue  # needs the instruction set's own flags
            done = subprocess.run(
                [*compiler, "-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror",
                 "-fsyntax-only", f"-I{SRC}", f"-I{ROOT / 'include'}", "-include", str(header),
                 "-xc", os.devnull], capture_output=True, text=True)
            if done.returncode:
                wrong.append(f"{header.relative_to(ROOT)}: {done.stderr[:300]}")
        self.assertEqual(wrong, [])

    def test_no_banned_calls(self):
        wrong = []
        for path in sources():
            for number, line in enumerate(without_comments(path.read_text()).splitlines(), 1):
                found = BANNED.search(line)
                if found:
                    wrong.append(f"{path.relative_to(ROOT)}: {found.group(1)}")
        self.assertEqual(wrong, [])

    def test_only_kernels_know_hardware(self):
        wrong = [str(p.relative_to(ROOT)) for p in sources()
                 if p.is_relative_to(SRC) and p.relative_to(SRC).parts[0] not in ("kernels", "base")
                 and re.search(r"immintrin\.h|__AVX|_mm256_|_mm512_", p.read_text())]
        self.assertEqual(wrong, [])

    def test_licence_lines(self):
        wrong = [str(p.relative_to(ROOT)) for p in sources()
                 if "SPDX-License-Identifier: MIT" not in p.read_text().split("\n", 1)[0]]
        self.assertEqual(wrong, [])

    def test_library_keeps_silent_and_never_exits(self):
        wrong = []
        for path in sorted(SRC.rglob("*.c")):
            if path.relative_to(SRC).parts[0] == "cli":
                continue
            text = without_comments(path.read_text())
            for found in re.findall(r"\b(exit|abort|printf|puts|perror|fprintf)\s*\(", text):
                wrong.append(f"{path.relative_to(ROOT)}: {found}")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    tap.main(__name__)
