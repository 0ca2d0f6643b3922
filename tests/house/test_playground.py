#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The playground's modules, as no bundler and no compiler checks them: imports that exist and point one way, exports
that someone needs, and every file both compiled in and loaded ahead."""
import os
import re
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

FOLDER = Path(os.environ["EASEL_SOURCE_ROOT"]) / "src" / "api" / "playground"
ENTRY = "main.js"
IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([^"]+)";$', re.M)
EXPORT = re.compile(r"^export (?:async )?(?:const|let|class|function\*?) ([\w$]+)", re.M)
LINES_MAX = 300


def names(text):
    return {name.strip() for name in text.split(",") if name.strip()}


class Playground(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.text = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.js"))}
        cls.imports = {module: {file: names(wanted) for wanted, file in IMPORT.findall(text)}
                       for module, text in cls.text.items()}

    def test_every_import_is_read_by_this_test(self):
        for module, text in self.text.items():
            self.assertEqual(len(re.findall(r"^import\b|\bimport\(|^export .* from ", text, re.M)),
                             len(IMPORT.findall(text)), module)

    def test_imports_exist_and_are_used(self):
        wrong = []
        for module, imported in self.imports.items():
            body = IMPORT.sub("", self.text[module])
            for file, wanted in imported.items():
                missing = wanted - set(EXPORT.findall(self.text.get(file, "")))
                wrong += [f"{module}: {file} does not export {name}" for name in sorted(missing)]
                wrong += [f"{module} does not use {name}" for name in sorted(wanted)
                          if not re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", body)]
        self.assertEqual(wrong, [])

    def test_exports_are_needed(self):
        needed = {(file, name) for imported in self.imports.values()
                  for file, wanted in imported.items() for name in wanted}
        self.assertEqual([(module, name) for module, text in self.text.items()
                          for name in EXPORT.findall(text) if (module, name) not in needed], [])

    def test_imports_point_one_way(self):
        waiting = {module: set(imported) for module, imported in self.imports.items()}
        while free := {module for module, imported in waiting.items() if not imported & set(waiting)}:
            for module in free:
                del waiting[module]
        self.assertEqual(waiting, {}, "these import each other")

    def test_all_are_reached_compiled_in_and_loaded_ahead(self):
        reached, left = set(), {ENTRY}
        while left:
            module = left.pop()
            reached.add(module)
            left |= set(self.imports[module]) - reached
        self.assertEqual(reached, set(self.text))
        listed = re.findall(r"'([\w-]+\.js)'", (FOLDER / "meson.build").read_text())
        self.assertEqual(sorted(listed), sorted(self.text))
        page = (FOLDER / "index.html").read_text()
        ahead = re.findall(r'<link rel="modulepreload" href="/playground/([^"]+)">', page)
        self.assertEqual(sorted(ahead), sorted(reached - {ENTRY}))
        self.assertIn(f'src="/playground/{ENTRY}"', page)

    def test_elements_exist(self):
        ids = set(re.findall(r'\bid="([^"]+)"', (FOLDER / "index.html").read_text()))
        wanted = {(module, name) for module, text in self.text.items() for name in re.findall(r'\$\("([^"]+)"\)', text)}
        self.assertEqual([one for one in sorted(wanted) if one[1] not in ids], [])

    def test_one_job_each(self):
        for module, text in self.text.items():
            self.assertEqual(text.split("\n", 1)[0], "// SPDX-License-Identifier: MIT", module)
            self.assertLessEqual(text.count("\n"), LINES_MAX, module)


if __name__ == "__main__":
    tap.main(__name__)
