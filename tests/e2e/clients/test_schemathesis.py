#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does the server do what /openapi.json says? schemathesis asks it, with requests that are right
and requests that are wrong in every way that a schema can tell.

EASEL_EXAMPLES: requests for each operation and phase (default 5)."""
import importlib.util
import os
import subprocess
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from service import ClientTest  # noqa: E402
import tap  # noqa: E402

EXAMPLES = os.environ.get("EASEL_EXAMPLES", "5")
# of Black Forest Labs: all have one handler and one description
ONE_OF_THE_MODELS = ("--exclude-path-regex", "^/v1/flux-(?!2-pro$)")
CONFIG = """
base-url = "{url}"
request-timeout = 60

[generation]
max-examples = {examples}
allow-x00 = false
database = "none"

# DELETE cancels a task; it stays to be seen.
[checks.use_after_free]
enabled = false

# In forms schemathesis sends pictures of one pixel, empty prompts and names that no header may
# hold as if they were right; test_openai_package.py sends what is.
[[operations]]
include-path = "/v1/images/edits"
[operations.checks]
positive_data_acceptance.enabled = false

[auth.openapi.magnific]
api_key = "{key}"
[auth.openapi.freepik]
api_key = "{key}"
[auth.openapi.bfl]
api_key = "{key}"
[auth.openapi.openai]
bearer = "{key}"
"""


@unittest.skipUnless(importlib.util.find_spec("schemathesis"),
                     "the package schemathesis is not installed")
class Description(ClientTest):
    flags = ("--stub", "--queue-max", "1000000")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        data = Path(cls.folder.name) / "data"
        key = subprocess.run([os.environ["EASEL_PROGRAM"], "key", "create", "schemathesis",
                              "--rate", "unlimited", "--data", str(data)],
                             check=True, capture_output=True, text=True).stdout.strip()
        cls.config = Path(cls.folder.name) / "schemathesis.toml"
        cls.config.write_text(CONFIG.format(url=cls.server.url, key=key, examples=EXAMPLES))

    def check(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", str(self.config), "run",
             self.server.url + "/openapi.json", "--no-color", "--generation-deterministic", *arguments],
            cwd=self.folder.name, capture_output=True, text=True,
            env=dict(os.environ, SCHEMATHESIS_HOOKS="schemathesis_hooks", PYTHONPATH=str(HERE)))
        if done.returncode:
            self.fail(done.stdout[-20000:] + done.stderr[-5000:])

    def check_each(self, tag, *more):
        self.check("--phases", "examples,coverage,fuzzing", "--include-tag", tag, *more)

    def test_magnific(self):
        self.check_each("Magnific")

    def test_black_forest_labs(self):
        self.check_each("Black Forest Labs", *ONE_OF_THE_MODELS)

    def test_openai(self):
        self.check_each("OpenAI")

    def test_service(self):
        self.check_each("Service")

    def test_one_request_after_another(self):
        self.check("--phases", "stateful", *ONE_OF_THE_MODELS)


if __name__ == "__main__":
    tap.main(__name__)
