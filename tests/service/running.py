# SPDX-License-Identifier: MIT
"""A real `easel serve` in a folder of its own, for tests."""
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request
from pathlib import Path

EASEL = os.environ["EASEL_PROGRAM"]
ROOT = Path(os.environ["EASEL_SOURCE_ROOT"])
TINY = ROOT / "tests" / "data" / "pipeline" / "model"
PRO = "/v1/ai/text-to-image/flux-2-pro"
SANITIZED = os.environ.get("EASEL_SANITIZE", "none") != "none"  # then previews take ten times as long
PATIENCE_S = 240 if SANITIZED else 60


def environment(**more):
    """Ours, without settings that would leak in."""
    kept = {k: v for k, v in os.environ.items()
            if not k.startswith("EASEL_") or k in ("EASEL_MODELS", "EASEL_CPU")}
    return dict(kept, **more)


def wait_for(what, condition, seconds=PATIENCE_S):
    """The first true value of condition(), asked for again and again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s")


class Server:
    """Started by the constructor; `url` and `key` (of a first run) are known then."""

    def __init__(self, data, *flags, env=None, listen="127.0.0.1:0"):
        self.key = None
        self.out, self.err = [], []
        args = [EASEL, "serve", "--data", str(data), *map(str, flags)]
        if listen:
            args += ["--listen", listen]
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment(**(env or {})))
        self.lines = queue.Queue()
        self.threads = [threading.Thread(target=self._read, args=a, daemon=True)
                        for a in ((self.process.stdout, self.out), (self.process.stderr, self.err))]
        for thread in self.threads:
            thread.start()
        try:
            self._wait_until_started()
        except BaseException:
            self.kill()
            raise

    def _read(self, stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def _wait_until_started(self):
        def url():
            if self.process.poll() is not None:
                raise AssertionError(f"easel serve ended with {self.process.returncode}: "
                                     f"{self.out} {self.err}")
            text = "\n".join(self.out)
            # the last thing that is printed, in a first run and in a later one
            return re.search(r"A new key:|/flux-2-pro/TASK_ID", text) and text
        text = wait_for("easel serve prints its address", url)
        self.url = re.search(r"(https?://[^/\s]+)/", text).group(1)
        key = re.search(r"easel_[A-Za-z0-9_-]{43}", text)
        self.key = key and key.group(0)

    def log(self):
        return "\n".join(self.err)

    def worker_pids(self):
        """Of the workers that were ready and have not been said to have ended."""
        ready = re.findall(r"worker \d+ is ready \(process (\d+)\)", self.log())
        gone = re.findall(r"worker \d+ \(process (\d+)\) ended", self.log())
        return [int(p) for p in ready if p not in gone]

    def wait_for_worker(self, other_than=None):
        return wait_for("a worker is ready", lambda: [p for p in self.worker_pids()
                                                      if p != other_than])[0]

    def request(self, method, path, body=None, key=None):
        """Status and body, as JSON if it is that."""
        key = key or self.key or "none"
        headers = {"x-magnific-api-key": key, "x-key": key}  # of either dialect
        if body is not None:
            headers["content-type"] = "application/json"
            body = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                status, data = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, data = error.code, error.read()
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data

    def submit(self, key=None, **fields):
        fields = {"prompt": "a cat", "width": 256, "height": 256, "seed": 1, **fields}
        status, answer = self.request("POST", PRO, fields, key)
        assert status == 200, (status, answer)
        return answer["task_id"]

    def task(self, task_id, key=None):
        status, answer = self.request("GET", f"{PRO}/{task_id}", key=key)
        assert status == 200, (status, answer)
        return answer["data"]

    def wait_for_status(self, task_id, *wanted, key=None, seconds=PATIENCE_S):
        def reached():
            task = self.task(task_id, key)
            return task if task["status"] in wanted else None
        return wait_for(f"task {task_id} is {wanted}", reached, seconds)

    def stop(self, number=signal.SIGTERM, seconds=PATIENCE_S):
        """Its exit status."""
        self.process.send_signal(number)
        return self.end(seconds)

    def end(self, seconds=PATIENCE_S):
        code = self.process.wait(timeout=seconds)
        for thread in self.threads:
            thread.join(timeout=10)
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        if not self.process.stdout.closed:
            self.end()


class ServiceTest(unittest.TestCase):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="easel-serve-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.data = self.dir / "data"

    def serve(self, *flags, **kwargs):
        server = Server(self.data, *flags, **kwargs)
        self.addCleanup(server.kill)
        return server

    def easel(self, *args, env=None, data=True, cwd=None):
        where = ["--data", str(self.data)] if data else []
        return subprocess.run([EASEL, *map(str, args), *where], capture_output=True, text=True,
                              env=environment(**(env or {})), timeout=PATIENCE_S, cwd=cwd)

    def assertFails(self, done, code, *needles):
        """With one line that says so (and the hint at --help, for usage)."""
        self.assertEqual(done.returncode, code, done.stderr)
        for needle in needles:
            self.assertIn(needle, done.stderr)
        self.assertTrue(done.stderr.startswith("easel: "), done.stderr)
        self.assertLessEqual(len(done.stderr.splitlines()), 2 if code == 2 else 1, done.stderr)

    def slow_model(self, steps):
        """The tiny model of the pipeline's tests, made to take many steps."""
        model = self.dir / "slow"
        if not model.exists():
            shutil.copytree(TINY, model)
        (model / "easel.json").write_text(json.dumps({"name": "slow", "steps": steps}))
        return model
