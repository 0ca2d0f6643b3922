# SPDX-License-Identifier: MIT
"""One `easel serve` for the tests of a real client."""
import atexit
import json
import sys
import tempfile
import unittest
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "service"))
from running import ROOT, SANITIZED, Server  # noqa: E402

def model_in_the_box():
    """Its folder; with sanitizers a copy that takes two steps in place of eight, each of which shows a preview that
    takes seconds then."""
    nano = ROOT / "models" / "nano"
    if not SANITIZED:
        return nano
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    for part in nano.iterdir():
        (Path(folder.name) / part.name).symlink_to(part)
    settings = json.loads((nano / "easel.json").read_text())
    (Path(folder.name) / "easel.json").unlink()
    (Path(folder.name) / "easel.json").write_text(json.dumps({**settings, "steps": 2}))
    return Path(folder.name)


NANO = model_in_the_box()


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
