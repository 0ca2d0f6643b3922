# SPDX-License-Identifier: MIT
"""What the tests of faults share: load on a real `easel serve`, a receiver of its webhooks, and what must hold in the end."""
import collections
import contextlib
import http.client
import http.server
import json
import os
import random
import re
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "service"))
from running import PRO, ServiceTest, wait_for  # noqa: E402

SEED = int(os.environ.get("EASEL_FAULT_SEED", str(random.randrange(1 << 32))))
FINAL = ("COMPLETED", "FAILED")
PATIENCE_S = 120
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAATklEQVR42u3PQQkAAAgEsAt2/TGWEXwLgxVYpn0tAgICAgICAgIC"
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgKXBTfrAS0KlmeBAAAAAElFTkSuQmCC")

Delivery = collections.namedtuple("Delivery", "message task status headers body at_s")


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps the deliveries that it accepts, in order. Of the messages it fails the first try of some; all while
    `refusing` is set."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, failing=0.0):
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook"
        self.lock = threading.Lock()
        self.deliveries, self.n_refused = [], 0
        self.failing, self.refusing = failing, False
        self.random, self.seen = random.Random(SEED), set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, delivery):
        """Is it accepted?"""
        with self.lock:
            tried_before = delivery.message in self.seen
            self.seen.add(delivery.message)
            accepted = not self.refusing and (tried_before or self.random.random() >= self.failing)
            if accepted:
                self.deliveries.append(delivery)
            else:
                self.n_refused += 1
        return accepted

    def so_far(self):
        with self.lock:
            return list(self.deliveries)

    def close(self):
        self.shutdown()
        self.server_close()


class ReceiverHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        said = json.loads(body)
        accepted = self.server.take(Delivery(self.headers["webhook-id"], said["task_id"], said["status"],
                                             dict(self.headers), body, time.time()))
        self.send_response(204 if accepted else 500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class House:
    """`easel serve` on one folder and one port, whatever becomes of its processes; with a key of no rate limit."""

    def __init__(self, test, *flags, env=None):
        self.test, self.env = test, env
        self.flags = ("--allow-private-webhooks", "--queue-max", 100000, *flags)
        self.server = test.serve(*self.flags, env=env)
        self.listen = self.server.url.partition("://")[2]
        made = test.easel("key", "create", "load", "--rate", "unlimited")
        assert made.returncode == 0, made.stderr
        self.key = made.stdout.strip()

    def start(self):
        self.server = self.test.serve(*self.flags, listen=self.listen, env=self.env)

    def kill_and_restart(self):
        self.server.kill()
        self.start()

    def kill_workers(self):
        for pid in children(self.server.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def request(self, method, path, body=None):
        return self.server.request(method, path, body, self.key)

    def status(self, path):
        return self.request("GET", path)[0]


def children(parent):
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and parent_of(p) == parent]


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def memory_mb(pid):
    """What is resident of a process, and not only mapped from files."""
    return int(re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


class Load(threading.Thread):
    """Posts tasks until told to stop; keeps the ids of those that were acknowledged, and other answers."""

    def __init__(self, house, hook, number):
        super().__init__(daemon=True)
        self.house, self.hook = house, hook
        self.random = random.Random(SEED + number)
        self.acknowledged, self.refused, self.ending = [], collections.Counter(), threading.Event()

    def run(self):
        while not self.ending.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.post()  # not acknowledged if the server was killed
            time.sleep(self.random.uniform(0.01, 0.05))

    def post(self):
        body = {"prompt": "a star", "width": 256, "height": 256, "webhook_url": self.hook}
        if self.random.random() < 0.2:
            body["input_image"] = PIXEL
        status, answer = self.house.request("POST", PRO, body)
        if status == 200:
            self.acknowledged.append(answer["task_id"])
        else:
            self.refused[status] += 1


class FaultTest(ServiceTest):
    """Load, and what must hold of all that was acknowledged."""

    def receive(self, failing=0.0):
        receiver = Receiver(failing)
        self.addCleanup(receiver.close)
        return receiver

    def load(self, house, receiver, n=3):
        loads = [Load(house, receiver.url, i) for i in range(n)]
        for load in loads:
            self.addCleanup(load.ending.set)
            load.start()
        return loads

    def end(self, loads):
        """The ids that were acknowledged."""
        for load in loads:
            load.ending.set()
        for load in loads:
            load.join()
        acknowledged = [i for load in loads for i in load.acknowledged]
        self.assertEqual(len(set(acknowledged)), len(acknowledged), "an id was given twice")
        return acknowledged

    @contextlib.contextmanager
    def telling(self, house):
        """Shows the server's log if the test fails."""
        print(f"# seed {SEED}", flush=True)
        try:
            yield
        except BaseException:
            print("\n".join(f"# {line}" for line in house.server.err[-40:]), flush=True)
            raise

    def wait_for_all(self, house, ids):
        """Of each task its state and, of a failed one, the reason."""
        final, deadline = {}, time.monotonic() + PATIENCE_S
        while len(final) < len(ids):
            self.assertLess(time.monotonic(), deadline, f"{len(ids) - len(final)} tasks do not end")
            for task in [i for i in ids if i not in final]:
                status, answer = house.request("GET", f"{PRO}/{task}")
                self.assertEqual(status, 200, f"{task} was acknowledged and is not known")
                if answer["data"]["status"] in FINAL:
                    final[task] = (answer["data"]["status"], answer["data"].get("error"))
            time.sleep(0.2)
        return final

    def check_webhooks(self, receiver, final):
        """Each end was told, under one id, and nothing came after it."""
        states = {task: status for task, (status, _) in final.items()}

        def all_came():
            told = {(d.task, d.status) for d in receiver.so_far()}
            return all(end in told for end in states.items())
        wait_for("the webhooks of all ends", all_came, PATIENCE_S)
        ids, last = collections.defaultdict(set), {}
        for d in receiver.so_far():
            if d.status in FINAL:
                ids[d.task, d.status].add(d.message)
            if last.get(d.task) in FINAL:
                self.assertEqual(d.status, last[d.task], f"{d.task}: another state came after its end")
            last[d.task] = d.status
        twice = {end: found for end, found in ids.items() if len(found) > 1}
        self.assertEqual(twice, {}, "an end was told under two ids")

    def check_files(self):
        """Of a server that was stopped: the database is sound, and no file lies about."""
        database = sqlite3.connect(f"file:{self.data}/easel.db?mode=ro", uri=True)
        self.assertEqual(database.execute("PRAGMA integrity_check").fetchone()[0], "ok")
        text = "\n".join(database.iterdump())
        database.close()
        orphans = [path.name for path in self.data.rglob("*") if path.is_file()
                   and re.fullmatch(r"[0-9a-f]{32}\.\w+", path.name) and path.name not in text]
        self.assertEqual(orphans, [], "files that no task holds")
