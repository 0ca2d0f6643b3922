#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients that mean no good, at a whole server: what they cost, and that others are served meanwhile.

What of that is a matter of HTTP alone is tested in tests/http."""
import os
import resource
import selectors
import socket
import sys
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from load import FaultTest, House, memory_mb  # noqa: E402
from running import PRO, wait_for  # noqa: E402

N_IDLE = 10000
SANITIZED = os.environ.get("EASEL_SANITIZE", "none") != "none"
MEMORY_MB = 2000 if SANITIZED else 400  # with MALLOC_PERTURB_, as Meson sets it, all of it is touched: 260
ANSWER_S = 5       # of a normal client, on a machine that does other things, too
IDLE_TIMEOUT_S = 15
BIG_BYTES = 64 << 20
N_SLOW = 200
REFUSED = (b"HTTP/1.1 413 ", b"HTTP/1.1 431 ")


class Hostile(FaultTest):
    def connect(self, house):
        host, port = house.listen.split(":")
        s = socket.create_connection((host, int(port)), timeout=30)
        self.addCleanup(s.close)
        return s

    def check_served(self, house):
        start = time.monotonic()
        status, answer = house.request("POST", PRO, {"prompt": "a", "width": 256, "height": 256})
        self.assertEqual(status, 200, answer)
        self.assertEqual(house.status(f"{PRO}/{answer['task_id']}"), 200)
        self.assertLess(time.monotonic() - start, ANSWER_S)
        house.server.wait_for_status(answer["task_id"], "COMPLETED", key=house.key)
        return answer["task_id"]

    def memory(self, house):
        return memory_mb(house.server.process.pid)

    def test_ten_thousand_idle_connections(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < N_IDLE + 1000:
            self.skipTest(f"this process may open {hard} files, and so may the server")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        house = House(self, "--stub")
        self.check_served(house)
        before, start = self.memory(house), time.monotonic()
        selector, idle = selectors.DefaultSelector(), []
        for i in range(N_IDLE):
            s = self.connect(house)
            if i % 2:
                s.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Half: ")
            idle.append(s)
            selector.register(s, selectors.EVENT_READ)
        self.check_served(house)
        grown = self.memory(house) - before
        print(f"# {N_IDLE} connections in {time.monotonic() - start:.1f} s, {grown:.0f} MB more", flush=True)
        self.assertLess(grown, MEMORY_MB)
        n_open, end = N_IDLE, time.monotonic() + 4 * IDLE_TIMEOUT_S
        while n_open and time.monotonic() < end:
            for key, _ in selector.select(1):
                if not self.received(key.fileobj):
                    selector.unregister(key.fileobj)
                    n_open -= 1
        self.assertEqual(n_open, 0, "connections are left open")
        self.check_served(house)

    def received(self, s):
        try:
            return s.recv(4096)
        except ConnectionResetError:
            return b""

    def test_slow_readers_of_a_big_result(self):
        house = House(self, "--stub")
        url = urllib.parse.urlsplit(house.server.task(self.check_served(house), house.key)["generated"][0])
        for path in (self.data / "blobs").rglob("*.png"):
            os.truncate(path, BIG_BYTES)
        before, slow = self.memory(house), []
        for _ in range(N_SLOW):
            s = self.connect(house)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.sendall(f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            slow.append(s)
        for s in slow:
            self.assertTrue(s.recv(100).startswith(b"HTTP/1.1 200 "))
        for _ in range(5):
            for s in slow:
                s.recv(10)
            self.check_served(house)
        grown = self.memory(house) - before
        print(f"# {N_SLOW} slow readers: {grown:.0f} MB more", flush=True)
        self.assertLess(grown, MEMORY_MB)
        wait_for("they are cut off", lambda: self.n_descriptors(house, ".png") == 0)

    def n_descriptors(self, house, suffix):
        n = 0
        for link in Path(f"/proc/{house.server.process.pid}/fd").iterdir():
            try:
                n += os.readlink(link).endswith(suffix)
            except FileNotFoundError:
                pass  # closed meanwhile
        return n

    def pour(self, house, head, piece, most_bytes):
        """What is answered to a request that goes on until somebody has enough, and how much was sent."""
        s, sent = self.connect(house), 0
        s.settimeout(5)
        try:
            s.sendall(head)
            while sent < most_bytes:
                s.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # it had enough
        answer = b""
        try:
            while more := s.recv(4096):
                answer += more
        except OSError:
            pass
        return answer, sent

    def test_bodies_without_end(self):
        house = House(self, "--stub")
        self.check_served(house)
        head = (f"POST {PRO} HTTP/1.1\r\nHost: x\r\nx-magnific-api-key: {house.key}\r\n"
                "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").encode()
        piece = b"100000\r\n" + b"[" * 0x100000 + b"\r\n"
        before = self.memory(house)
        answer, sent = self.pour(house, head, piece, 4 << 30)
        print(f"# {sent >> 20} MB taken, then {answer[:40]!r}, {self.memory(house) - before:.0f} MB more", flush=True)
        self.assertLess(sent, 1 << 30)
        self.assertTrue(answer.startswith(REFUSED), answer[:100])
        self.assertLess(self.memory(house) - before, MEMORY_MB)
        self.assertEqual(list((self.data / "tmp").iterdir()), [])
        self.check_served(house)

    def test_bodies_without_end_and_without_a_key(self):
        house = House(self, "--stub")
        head = (f"POST {PRO} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                "Transfer-Encoding: chunked\r\n\r\n").encode()
        answer, sent = self.pour(house, head, b"100000\r\n" + b" " * 0x100000 + b"\r\n", 4 << 30)
        self.assertLess(sent, 1 << 30)
        self.assertTrue(answer.startswith(b"HTTP/1.1 401 "), answer[:100])
        self.assertEqual(list((self.data / "tmp").iterdir()), [])
        self.check_served(house)

    def test_headers_of_a_megabyte(self):
        house = House(self, "--stub")
        self.check_served(house)
        before = self.memory(house)
        for piece in (b"X-Long: " + b"a" * (1 << 20) + b"\r\n", b"X-Many: a\r\n" * 100000):
            for _ in range(20):
                answer, _ = self.pour(house, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", piece + b"\r\n", 1)
                self.assertTrue(answer.startswith(REFUSED) or not answer, answer[:100])
                self.assertNotIn(b"200 OK", answer)
        self.assertLess(self.memory(house) - before, MEMORY_MB)
        self.check_served(house)


if __name__ == "__main__":
    tap.main(__name__)
