# SPDX-License-Identifier: MIT
"""One `easel serve` for the tests of a real client."""
import os
import sys
import tempfile
import unittest
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "service"))
from running import Server  # noqa: E402

NANO = Path(os.environ["EASEL_SOURCE_ROOT"]) / "models" / "nano"


class ClientTest(unittest.TestCase):
    """flags: of `easel serve`; --stub draws plain pictures at once and takes references."""
    flags = ("--stub",)

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.server = Server(Path(cls.folder.name) / "data", *cls.flags)
        cls.addClassCleanup(cls.server.kill)
        cls.server.wait_for_worker()
