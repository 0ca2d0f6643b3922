#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many requests a second `easel serve` answers, with workers that draw nothing.

Starts the server on a temporary data folder and drives it with wrk (Debian: wrk) from this same machine, so that the
client's own work is in the figures. Prints requests a second and latencies of
  - GET of a task's status,
  - POST of new tasks, each of them on the disk before its answer,
and what the HTTP layer and the queue add to one picture: the time from POST to COMPLETED of one task at a time, and where it
goes.

With --tasks N something else: N tasks from POST to COMPLETED, posted by a few connections as fast as the workers take
them, and what the memory of the server and of its workers comes to meanwhile.

    tools/bench_serve.py [--program build/easel] [--seconds 10] [--connections 64]
    tools/bench_serve.py --tasks 100000 [--workers 4]
"""
import argparse
import http.client
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUTE = "/v1/ai/text-to-image/flux-2-pro"
QUEUED_MAX = 500  # tasks under way in a long run

POST_SCRIPT = """
wrk.method = "POST"
wrk.body = '{"prompt": "a red apple on a blue background", "width": 256, "height": 256, "seed": 1}'
wrk.headers["content-type"] = "application/json"
wrk.headers["x-magnific-api-key"] = os.getenv("EASEL_KEY")
"""
GET_SCRIPT = """
wrk.headers["x-magnific-api-key"] = os.getenv("EASEL_KEY")
"""
# wrk calls done() in the end: failures would otherwise hide in a good rate
DONE_SCRIPT = """
done = function(summary, latency, requests)
  io.write(string.format("RESULT %d %d %d %.3f %.3f %.3f\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
"""


def memory_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def children(pid):
    return [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]


class Server:
    """`easel serve --stub` on a data folder that goes away with it."""

    def __init__(self, program, directory, *options):
        self.data = directory
        self.process = subprocess.Popen(
            [program, "serve", "--data", directory, "--listen", "127.0.0.1:0", "--stub",
             "--queue-max", "10000000", *options],
            stdout=subprocess.PIPE, stderr=open(os.path.join(directory, "serve.log"), "w"), text=True)
        self.port = None
        for line in self.process.stdout:
            found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if not self.port:
            sys.exit(f"easel serve did not start; see {directory}/serve.log")
        done = subprocess.run([program, "key", "create", "bench", "--rate", "unlimited", "--data", directory],
                              stdout=subprocess.PIPE, text=True, check=True)
        self.key = done.stdout.strip()

    def request(self, connection, method, path, body=None):
        connection.request(method, path, body and json.dumps(body),
                           {"x-magnific-api-key": self.key, "content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def memory_mb(self):
        return memory_mb(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def wrk(server, script, path, arguments):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + DONE_SCRIPT)
        file.flush()
        done = subprocess.run(
            ["wrk", "-t", "2", "-c", str(arguments.connections), "-d", f"{arguments.seconds}s", "-s", file.name,
             f"http://127.0.0.1:{server.port}{path}"],
            env={**os.environ, "EASEL_KEY": server.key}, stdout=subprocess.PIPE, text=True, check=True)
    found = re.search(r"RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+) ([\d.]+)", done.stdout)
    n, microseconds, errors = (int(g) for g in found.groups()[:3])
    median, p99, worst = (float(g) for g in found.groups()[3:])
    return {"per second": n / (microseconds / 1e6), "errors": errors, "median ms": median, "p99 ms": p99,
            "max ms": worst}


def one_picture(server, count):
    """Seconds from POST to its answer and to COMPLETED, one task at a time."""
    connection = server.connect()
    times = []
    for i in range(count):
        start = time.monotonic()
        _, answer = server.request(connection, "POST", ROUTE, {"prompt": "a star", "width": 256, "height": 256,
                                                               "seed": i})
        posted = time.monotonic()
        while True:
            _, state = server.request(connection, "GET", f"{ROUTE}/{answer['task_id']}")
            if state["data"]["status"] in ("COMPLETED", "FAILED"):
                break
            time.sleep(0.0003)
        times.append((posted - start, time.monotonic() - start))
        time.sleep(0.02)  # the worker waits again as one that has nothing to do
    return times


def show_one_picture(server, count=200):
    """Means, as only they add up: the store's times are whole milliseconds."""
    times = one_picture(server, count)
    with sqlite3.connect(f"file:{server.data}/easel.db?mode=ro", uri=True) as database:
        waited, worked = database.execute("SELECT avg(started_ms - created_ms), avg(finished_ms - started_ms)"
                                          " FROM tasks").fetchone()
        drawn = database.execute("SELECT sum(seconds) FROM stages").fetchone()[0] / count * 1e3
    posted, total = (sum(t) / count * 1e3 for t in zip(*times))
    median = sorted(t[1] for t in times)[count // 2] * 1e3
    print(f"one picture, POST to COMPLETED {median:6.2f} ms (median of {count}; mean {total:.2f}):\n"
          f"    {posted:5.2f} ms until POST is answered, {waited:.2f} until a worker has it (they overlap),\n"
          f"    {worked:5.2f} with the worker, of which {drawn:.2f} drawing and encoding,\n"
          f"    {total - waited - worked:5.2f} before and after: request, last commit, and the client's asking", flush=True)


class Poster(threading.Thread):
    """Posts tasks on a connection of its own until told to stop."""

    def __init__(self, server, run):
        super().__init__(daemon=True)
        self.server, self.run_of = server, run

    def run(self):
        connection = self.server.connect()
        while self.run_of.take():
            status, answer = self.server.request(connection, "POST", ROUTE, {"prompt": "a star", "width": 256,
                                                                             "height": 256})
            if status != 200:
                self.run_of.trouble = f"POST was answered with {status}: {answer}"
                return


class LongRun:
    """N tasks, of which never more than QUEUED_MAX wait."""

    def __init__(self, server, count):
        self.server, self.left, self.count = server, count, count
        self.room = threading.Semaphore(QUEUED_MAX)
        self.lock = threading.Lock()
        self.trouble = None

    def take(self):
        self.room.acquire()
        with self.lock:
            self.left -= 1
            return self.left >= 0

    def ended(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}/metrics", timeout=60) as answer:
            text = answer.read().decode()
        return [int(float(re.search(rf'^easel_tasks_finished_total{{status="{state}"}} (\S+)', text, re.M)[1]))
                for state in ("completed", "failed")]

    def go(self):
        """Prints a line for each twentieth."""
        posters = [Poster(self.server, self) for _ in range(4)]
        start, done, shown = time.monotonic(), 0, 0
        for poster in posters:
            poster.start()
        while done < self.count:
            time.sleep(0.1)
            if self.trouble:
                sys.exit(self.trouble)
            completed, failed = self.ended()
            for _ in range(completed + failed - done):
                self.room.release()
            done = completed + failed
            if done >= shown or done == self.count:
                self.show(done, failed, time.monotonic() - start)
                shown += self.count / 20

    def show(self, done, failed, seconds):
        workers = [memory_mb(pid) for pid in children(self.server.process.pid)]
        print(f"{done:7} tasks, {failed} failed, {done / seconds:6.0f} /s   server {self.server.memory_mb():5.1f} MB   "
              f"workers {' '.join(f'{mb:.1f}' for mb in sorted(workers))} MB", flush=True)


def show(name, numbers):
    print(f"{name:28} {numbers['per second']:9.0f} /s   median {numbers['median ms']:6.2f} ms   "
          f"p99 {numbers['p99 ms']:6.2f} ms   max {numbers['max ms']:7.2f} ms   errors {numbers['errors']}", flush=True)


def long_run(arguments):
    with tempfile.TemporaryDirectory() as directory:
        server = Server(arguments.program, directory, "--workers", str(arguments.workers))
        try:
            LongRun(server, arguments.tasks).go()
        finally:
            server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "easel"))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--tasks", type=int)
    parser.add_argument("--workers", type=int, default=4)
    arguments = parser.parse_args()
    if arguments.tasks:
        long_run(arguments)
        return
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with tempfile.TemporaryDirectory() as directory:
        server = Server(arguments.program, directory)
        try:
            show_one_picture(server)
            _, answer = server.request(server.connect(), "POST", ROUTE, {"prompt": "a star"})
            show("GET status", wrk(server, GET_SCRIPT, f"{ROUTE}/{answer['task_id']}", arguments))
        finally:
            server.stop()
    # Without workers, so that what is measured is the acceptance of tasks.
    with tempfile.TemporaryDirectory() as directory:
        server = Server(arguments.program, directory, "--workers", "0")
        try:
            before = server.memory_mb()
            show("POST, durable", wrk(server, POST_SCRIPT, ROUTE, arguments))
            print(f"memory of the server {before:.0f} MB before, {server.memory_mb():.0f} MB after")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
