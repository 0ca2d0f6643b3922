#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many requests a second `easel serve` answers, with workers that draw nothing.

Starts the server on a temporary data folder and drives it with wrk (Debian: wrk) from this same machine, so that the
client's own work is in the figures. Prints requests a second and latencies of
  - GET of a task's status,
  - POST of new tasks, each of them on the disk before its answer,
and what the HTTP layer and the queue add to one picture: seconds from POST to COMPLETED of one task at a time.

    tools/bench_serve.py [--program build/easel] [--seconds 10] [--connections 64]
"""
import argparse
import http.client
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUTE = "/v1/ai/text-to-image/flux-2-pro"

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
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1)) / 1024

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


def one_picture_s(server, count=30):
    """Median seconds from POST to COMPLETED with nothing else to do."""
    connection = server.connect()
    seconds = []
    for i in range(count):
        start = time.monotonic()
        _, answer = server.request(connection, "POST", ROUTE, {"prompt": "a star", "width": 256, "height": 256,
                                                               "seed": i})
        while True:
            _, state = server.request(connection, "GET", f"{ROUTE}/{answer['task_id']}")
            if state["data"]["status"] in ("COMPLETED", "FAILED"):
                break
            time.sleep(0.001)
        seconds.append(time.monotonic() - start)
    return sorted(seconds)[count // 2]


def show(name, numbers):
    print(f"{name:28} {numbers['per second']:9.0f} /s   median {numbers['median ms']:6.2f} ms   "
          f"p99 {numbers['p99 ms']:6.2f} ms   max {numbers['max ms']:7.2f} ms   errors {numbers['errors']}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build" / "easel"))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=64)
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    with tempfile.TemporaryDirectory() as directory:
        server = Server(arguments.program, directory)
        try:
            print(f"one picture, POST to COMPLETED   {one_picture_s(server) * 1e3:6.1f} ms (median of 30)")
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
