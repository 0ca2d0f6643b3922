#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of the worker and of the server at random moments under load.

Every task that was acknowledged must end COMPLETED or FAILED with its reason, every webhook owed must arrive, none under
two ids, in order per task, and no file may be left that no task holds.
"""
import collections
import http.client
import http.server
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

PROGRAM = os.environ["EASEL_PROGRAM"]
ROUNDS = int(os.environ.get("EASEL_FAULT_ROUNDS", "50"))
ROUTE = "/v1/ai/text-to-image/flux-2-pro"
SEED = int(os.environ.get("EASEL_FAULT_SEED", str(random.randrange(1 << 32))))
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAATklEQVR42u3PQQkAAAgEsAt2/TGWEXwLgxVYpn0tAgICAgICAgIC"
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgKXBTfrAS0KlmeBAAAAAElFTkSuQmCC")


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what is delivered; fails the first try of one message in ten."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.lock = threading.Lock()
        self.deliveries = []  # (webhook-id, task id, status), accepted ones in order
        self.random = random.Random(SEED)
        self.seen = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class ReceiverHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            message = self.headers["webhook-id"]
            accepted = message in self.server.seen or self.server.random.random() > 0.1
            self.server.seen.add(message)
            if accepted:
                self.server.deliveries.append((message, body["task_id"], body["status"]))
        self.send_response(204 if accepted else 500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Serve:
    """`easel serve`, restarted on the same port after each kill."""

    def __init__(self, data):
        self.data, self.port, self.process = data, 0, None
        self.log = open(os.path.join(data, "..", "serve.log"), "a")

    def start(self):
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}", "--stub",
             "--allow-private-webhooks", "--queue-max", "100000"],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                return
        raise AssertionError("easel serve did not start")

    def workers(self):
        return [int(p) for p in os.listdir("/proc") if p.isdigit() and self._is_child(p)]

    def _is_child(self, pid):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return int(stat.read().rsplit(")", 1)[1].split()[1]) == self.process.pid
        except (FileNotFoundError, ProcessLookupError):
            return False

    def kill_worker(self):
        for pid in self.workers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill_and_restart(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.start()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


class Load(threading.Thread):
    """Posts tasks until told to stop; keeps the ids of those that were acknowledged."""

    def __init__(self, serve, key, hook, number):
        super().__init__(daemon=True)
        self.serve, self.key, self.hook = serve, key, hook
        self.random = random.Random(SEED + number)
        self.acknowledged, self.ending, self.strange = [], threading.Event(), []

    def run(self):
        while not self.ending.is_set():
            try:
                self.post()
            except (OSError, http.client.HTTPException):
                pass  # the server was killed: not acknowledged
            time.sleep(self.random.uniform(0.01, 0.05))

    def post(self):
        body = {"prompt": "a star", "width": 256, "height": 256, "webhook_url": self.hook}
        if self.random.random() < 0.2:
            body["input_image"] = PIXEL
        connection = http.client.HTTPConnection("127.0.0.1", self.serve.port, timeout=10)
        try:
            connection.request("POST", ROUTE, json.dumps(body),
                               {"x-magnific-api-key": self.key, "content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status == 200:
                self.acknowledged.append(json.loads(content)["task_id"])
            elif answer.status not in (500, 503):
                self.strange.append((answer.status, content))
        finally:
            connection.close()


class Faults(unittest.TestCase):
    def test_kills_lose_nothing(self):
        print(f"# seed {SEED}, {ROUNDS} rounds", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            data = os.path.join(directory, "data")
            os.mkdir(data)
            receiver, serve = Receiver(), Serve(data)
            serve.start()
            key = subprocess.run([PROGRAM, "key", "create", "load", "--rate", "unlimited", "--data", data],
                                 stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
            hook = f"http://127.0.0.1:{receiver.server_port}/hook"
            loads = [Load(serve, key, hook, i) for i in range(3)]
            for load in loads:
                load.start()
            chance = random.Random(SEED)
            for _ in range(ROUNDS):
                time.sleep(chance.uniform(0.05, 0.5))
                if chance.random() < 0.5:
                    serve.kill_worker()
                else:
                    serve.kill_and_restart()
            for load in loads:
                load.ending.set()
            for load in loads:
                load.join()
            try:
                self.check(serve, key, loads, receiver)
                self.assertEqual(serve.stop(), 0)
                serve.start()  # what a kill left half done is cleared away at the start
                self.assertEqual(serve.stop(), 0)
                self.check_files(data)
            except AssertionError:
                serve.log.flush()
                with open(serve.log.name) as log:
                    print("# " + "# ".join(log.readlines()[-40:]), flush=True)
                raise
            finally:
                if serve.process.poll() is None:
                    serve.process.kill()
                    serve.process.wait()
                serve.log.close()
                receiver.shutdown()
                receiver.server_close()

    def check(self, serve, key, loads, receiver):
        self.assertEqual([s for load in loads for s in load.strange], [])
        acknowledged = [i for load in loads for i in load.acknowledged]
        self.assertGreater(len(acknowledged), ROUNDS)
        self.assertEqual(len(set(acknowledged)), len(acknowledged), "an id was given twice")
        final = self.wait_for_all(serve, key, acknowledged)
        for task, (status, error) in final.items():
            self.assertIn(status, ("COMPLETED", "FAILED"))
            if status == "FAILED":
                self.assertTrue(error, f"{task} failed without a reason")
        self.wait_for_webhooks(receiver, {task: status for task, (status, _) in final.items()})
        print(f"# {len(acknowledged)} acknowledged, {collections.Counter(s for s, _ in final.values())}, "
              f"{len(receiver.deliveries)} webhooks", flush=True)

    def wait_for_all(self, serve, key, ids):
        final, deadline = {}, time.monotonic() + 120
        while len(final) < len(ids):
            self.assertLess(time.monotonic(), deadline, f"{len(ids) - len(final)} tasks do not end")
            connection = http.client.HTTPConnection("127.0.0.1", serve.port, timeout=10)
            for task in ids:
                if task in final:
                    continue
                connection.request("GET", f"{ROUTE}/{task}", headers={"x-magnific-api-key": key})
                answer = connection.getresponse()
                content = json.loads(answer.read())
                self.assertEqual(answer.status, 200, f"{task} was acknowledged and is not known")
                if content["data"]["status"] in ("COMPLETED", "FAILED"):
                    final[task] = (content["data"]["status"], content["data"].get("error"))
            connection.close()
            time.sleep(0.2)
        return final

    def wait_for_webhooks(self, receiver, final):
        deadline = time.monotonic() + 120
        while True:
            with receiver.lock:
                deliveries = list(receiver.deliveries)
            ended = {(task, status) for _, task, status in deliveries}
            missing = [task for task, status in final.items() if (task, status) not in ended]
            if not missing:
                break
            self.assertLess(time.monotonic(), deadline, f"{len(missing)} final webhooks do not come")
            time.sleep(0.2)
        ids = collections.defaultdict(set)  # of a final state: each is owed once
        for message, task, status in deliveries:
            if status in ("COMPLETED", "FAILED"):
                ids[task, status].add(message)
        twice = {key: found for key, found in ids.items() if len(found) > 1}
        self.assertEqual(twice, {}, "a state was told under two ids")
        last = {}
        for _, task, status in deliveries:
            if last.get(task) in ("COMPLETED", "FAILED"):
                self.assertEqual(status, last[task], f"{task}: another state came after its end")
            last[task] = status

    def check_files(self, data):
        database = sqlite3.connect(f"file:{data}/easel.db?mode=ro", uri=True)
        self.assertEqual(database.execute("PRAGMA integrity_check").fetchone()[0], "ok")
        text = "\n".join(database.iterdump())
        database.close()
        orphans = [path.name for path in Path(data).rglob("*") if path.is_file()
                   and re.fullmatch(r"[0-9a-f]{32}\.\w+", path.name) and path.name not in text]
        self.assertEqual(orphans, [], "files that no task holds")


if __name__ == "__main__":
    tap.main(__name__)
