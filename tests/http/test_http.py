#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The HTTP layer as clients and attackers meet it, over raw sockets."""
import os
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402

PROGRAM = os.environ["EASEL_HTTP_SERVER"]
SANITIZED = os.environ.get("EASEL_SANITIZE", "none") != "none"
SLOW = 2.0 if SANITIZED else 1.0  # more patience


class Answer:
    def __init__(self, status, headers, body, lines):
        self.status, self.headers, self.body, self.lines = status, headers, body, lines

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:200]!r}"


class Client:
    """One connection, and a reader of answers that is stricter than most."""

    def __init__(self, port, timeout=10, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout * SLOW)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())
        return self

    def more(self):
        """False at the end of the connection."""
        try:
            got = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.data += got
        return bool(got)

    def take(self, size):
        while len(self.data) < size:
            if not self.more():
                raise EOFError(f"{len(self.data)} of {size} bytes: {self.data[:200]!r}")
        out, self.data = self.data[:size], self.data[size:]
        return out

    def until(self, mark):
        while mark not in self.data:
            if not self.more():
                raise EOFError(f"no {mark!r} in {self.data[:200]!r}")
        return self.take(self.data.index(mark) + len(mark))

    def head(self):
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")[:-2]
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) .+", lines[0])
        assert match, lines[0]
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers, line
            headers[name.lower()] = value
        return int(match[1]), headers, lines

    def chunk(self):
        size = int(self.until(b"\r\n")[:-2], 16)
        data = self.take(size)
        assert self.take(2) == b"\r\n"
        return data

    def answer(self, head=False):
        status, headers, lines = self.head()
        body = b""
        if head or status in (100, 204, 304):
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while chunk := self.chunk():
                body += chunk
        elif "content-length" in headers:
            body = self.take(int(headers["content-length"]))
        else:
            while self.more():
                pass
            body, self.data = self.data, b""
        return Answer(status, headers, body, lines)

    def closed(self):
        """Whether the server ends the connection, without another byte."""
        while self.more():
            pass
        return self.data == b""


def request(method="GET", target="/info", headers=(), body=b"", version="HTTP/1.1"):
    lines = [f"{method} {target} {version}", "Host: test", *headers]
    if body and not any(h.lower().startswith("content-length") for h in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([PROGRAM, *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("port "):
            raise RuntimeError(self.process.communicate()[1])
        self.port = int(line.split()[1])

    def client(self, **kwargs):
        return Client(self.port, **kwargs)

    def ask(self, *args, **kwargs):
        with self.client() as c:
            return c.send(request(*args, **kwargs)).answer(head=args[:1] == ("HEAD",))

    def raw(self, data):
        with self.client() as c:
            return c.send(data).answer()

    def counts(self):
        text = self.ask(target="/counts").body.decode()
        return {k: int(v) for k, v in re.findall(r"^(\w+)=(\d+)$", text, re.M)}

    def log(self):
        return re.findall(r"^log (.*)$", self.ask(target="/counts").body.decode(), re.M)

    def wait(self, what, seconds=5):
        """Until what() is true."""
        end = time.monotonic() + seconds * SLOW
        while not what():
            if time.monotonic() > end:
                raise TimeoutError(str(self.counts()))
            time.sleep(0.02)

    def memory(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024

    def stop(self, grace_ms=0):
        """Seconds that it took and the last line."""
        if self.process.poll() is None:
            start = time.monotonic()
            out, err = self.process.communicate(f"stop {grace_ms}\n", timeout=60)
            self.end = (time.monotonic() - start, out.strip(), err)
        if self.process.returncode or self.end[2]:
            raise AssertionError(f"exit {self.process.returncode}: {self.end[2]}")
        return self.end[:2]


class Base(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.dir = Path(tempfile.mkdtemp(prefix="easel-http-"))
        cls.content = random.Random(1).randbytes(300000)
        (cls.dir / "file").write_bytes(cls.content)
        cls.server = cls.start(*cls.options)

    @classmethod
    def tearDownClass(cls):
        try:
            _, line = cls.server.stop()
            counts = dict(zip(line.split()[::2], line.split()[1::2]))
            assert counts["seen"] == counts["ended"], line
        finally:
            shutil.rmtree(cls.dir)

    @classmethod
    def start(cls, *options):
        return Server(f"file={cls.dir / 'file'}", f"dir={cls.dir}", *options)

    def own(self, *options):
        server = self.start(*options)
        self.addCleanup(server.stop)
        return server


class Requests(Base):
    def test_get_with_path_query_and_headers(self):
        a = self.server.ask(target="/a%20b/%C3%A4?x=1&a=2%2B+3", headers=["X-ONE:  two \t"])
        self.assertEqual(a.status, 200)
        self.assertIn("path=/a b/ä\na=2+ 3\nx=two\nclient=127.0.0.1\nlength=-1\n",
                      a.body.decode())
        self.assertEqual(a.headers["content-type"], "text/plain")
        self.assertRegex(a.headers["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")

    def test_post_with_length_and_empty(self):
        self.assertEqual(self.server.ask("POST", "/echo", body=b"abc").body, b"abc")
        a = self.server.ask("POST", "/info", headers=["Content-Length: 0"])
        self.assertIn(b"length=0\n", a.body)
        self.assertIn(b"body=0\n", a.body)

    def test_methods_are_passed_on(self):
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "get", "X" * 32):
            self.assertIn(f"method={method}\n", self.server.ask(method).body.decode())
        self.assertEqual(self.server.ask("X" * 33).status, 501)
        self.assertEqual(self.server.ask("CONNECT", "test:443").status, 501)

    def test_head_has_no_body(self):
        with self.server.client() as c:
            a = c.send(request("HEAD", "/hello")).answer(head=True)
            self.assertEqual((a.status, a.headers["content-length"]), (200, "6"))
            self.assertEqual(c.send(request(target="/hello")).answer().body, b"hello\n")

    def test_head_of_a_stream(self):
        with self.server.client() as c:
            a = c.send(request("HEAD", "/stream")).answer(head=True)
            self.assertEqual(a.status, 200)
            self.assertTrue(c.closed())

    def test_keep_alive_and_close(self):
        with self.server.client() as c:
            for _ in range(3):
                self.assertEqual(c.send(request(target="/hello")).answer().body, b"hello\n")
            a = c.send(request(target="/hello", headers=["Connection: close"])).answer()
            self.assertEqual(a.headers["connection"], "close")
            self.assertTrue(c.closed())

    def test_http_1_0(self):
        with self.server.client() as c:
            a = c.send(b"GET /hello HTTP/1.0\r\n\r\n").answer()
            self.assertEqual((a.status, a.body), (200, b"hello\n"))
            self.assertTrue(c.closed())
        with self.server.client() as c:
            c.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").answer()
            self.assertEqual(c.send(b"GET /hello HTTP/1.0\r\n\r\n").answer().body, b"hello\n")

    def test_http_1_0_stream_ends_with_the_connection(self):
        a = self.server.raw(b"GET /stream?n=2&ms=10 HTTP/1.0\r\n\r\n")
        self.assertNotIn("transfer-encoding", a.headers)
        self.assertEqual(a.body, b"data: 0\n\ndata: 1\n\n")

    def test_pipelining_keeps_the_order(self):
        with self.server.client() as c:
            c.send(b"".join([request(target="/hello"), request("POST", "/echo", body=b"one"),
                             request(target="/park?ms=50"), request("POST", "/echo", body=b"two"),
                             request("HEAD", "/hello"), request(target="/hello")]))
            self.assertEqual([c.answer().body for _ in range(4)],
                             [b"hello\n", b"one", b"again", b"two"])
            c.answer(head=True)
            self.assertEqual(c.answer().body, b"hello\n")

    def test_a_request_byte_by_byte(self):
        with self.server.client() as c:
            c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in request("POST", "/echo?a=%41", body=b"abc"):
                c.send(bytes([byte]))
            self.assertEqual(c.answer().body, b"abc")

    def test_request_ids(self):
        for given in ("a", "Az09._-", "x" * 64):
            a = self.server.ask(headers=[f"X-Request-Id: {given}"])
            self.assertEqual(a.headers["x-request-id"], given)
            self.assertIn(f"id={given}\n", a.body.decode())
        made = set()
        for bad in ("x" * 65, "a b", "a,b", "ä", ""):
            a = self.server.ask(headers=[f"X-Request-Id: {bad}"])
            self.assertRegex(a.headers["x-request-id"], r"^[0-9a-f]{32}$")
            made.add(a.headers["x-request-id"])
        self.assertEqual(len(made), 5)

    def test_absolute_targets(self):
        a = self.server.ask(target="http://test/info?a=1")
        self.assertIn(b"path=/info\na=1\n", a.body)
        self.assertIn(b"path=/\n", self.server.ask(target="HTTP://test").body)
        self.assertIn(b"path=/\na=(none)", self.server.ask(target="http://test").body)

    def test_chunked_bodies(self):
        body = b"3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
        head = request("POST", "/echo", headers=["Transfer-Encoding: chunked"])
        with self.server.client() as c:
            self.assertEqual(c.send(head + body).answer().body, b"abc0123456789")
            self.assertTrue(c.closed())  # nothing may follow chunks: see head.c
        a = self.server.raw(request("POST", "/info", headers=["Transfer-Encoding: Chunked"]) +
                            b"1\r\na\r\n0\r\n\r\n")
        self.assertIn(b"length=-1\n", a.body)

    def test_the_log_names_status_and_bytes(self):
        self.server.ask(target="/logged", headers=["Range: bytes=0-1"])
        self.server.ask(target="/file?logged", headers=["Range: bytes=0-9"])
        self.server.raw(b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n")
        log = self.server.log()
        self.assertTrue(any(re.match(r"200 GET /logged \d+$", line) for line in log), log)
        self.assertIn("206 GET /file 10", log)
        self.assertTrue(any(re.match(r"400 GET  \d+$", line) for line in log), log)


class Refusals(Base):
    def refused(self, data, status=400):
        with self.server.client() as c:
            a = c.send(data).answer()
            self.assertEqual(a.status, status, f"{data[:200]!r}: {a}")
            self.assertEqual(a.headers["connection"], "close")
            if a.body.startswith(b"HTTP/1.1 4"):
                # libmicrohttpd 0.9.75 writes the head of its own refusal of a length twice
                c.until(b"</html>")
            self.assertTrue(c.closed(), data[:200])

    def test_lengths(self):
        for lines in ("Content-Length: 3\r\nContent-Length: 5", "Content-Length: 3\r\nContent-Length: 3",
                      "Content-Length: 3, 3", "Content-Length: +3", "Content-Length: -3",
                      "Content-Length: 0x3", "Content-Length: 3a", "Content-Length:",
                      "Content-Length: 3 3"):
            self.refused(f"POST /echo HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\nabcde".encode())
        for huge in ("99999999999999999999", "18446744073709551616"):
            self.refused(f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {huge}\r\n\r\n".encode(),
                         413)
        self.refused(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\n")

    def test_length_and_chunks(self):
        tail = b"\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        for lines in (b"Content-Length: 5\r\nTransfer-Encoding: chunked",
                      b"Transfer-Encoding: chunked\r\nContent-Length: 5",
                      b"Transfer-Encoding: chunked\r\ncontent-length: 0"):
            self.refused(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + lines + tail)
        self.assertFalse(any("smuggled" in line for line in self.server.log()))

    def test_encodings(self):
        for value in ("gzip", "chunked, gzip", "gzip, chunked", "identity", "xchunked", "\"chunked\"",
                      "", "chunked,", "chunked\r\nTransfer-Encoding: chunked",
                      "chunked\r\nTransfer-Encoding: identity"):
            self.refused(f"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {value}\r\n\r\n"
                         "0\r\n\r\n".encode(), 501)
        self.refused(b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    def test_malformed_lines(self):
        for line in (b"X: a\r\n folded", b"X: a\r\n\tfolded", b"X: a\rb", b"X: a\r\rb", b"X: a\0b",
                     b"X\0Y: a", b"\0X: a", b"X : a", b"X\t: a", b" X: a", b"X", b": a", b"X Y: a",
                     b"X\xc3\xa4: a", b"X(: a", b"X: \x01", b"X: \x7f", b"X: a\nY: b",
                     b"Content-Length : 5", b"\x0bTransfer-Encoding: chunked",
                     b"Transfer-Encoding\0: chunked", b"\0\r\nContent-Length: 5"):
            for before, after in ((b"", b"\r\nZ: z"), (b"A: a\r\n", b"")):
                self.refused(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + before + line + after +
                             b"\r\n\r\nabcde")

    def test_line_ends(self):
        self.refused(b"GET /hello HTTP/1.1\nHost: x\n\n")
        self.refused(b"GET /hello HTTP/1.1\r\nHost: x\n\r\n")
        self.refused(b"GET /hello HTTP/1.1\r\nHost: x\r\n\n")
        self.refused(b"GET /hello HTTP/1.1\nHost: x\r\n\r\n")
        self.refused(b"GET /hello HTTP/1.0\n\n")

    def test_request_lines(self):
        for line in (b"GET  /hello HTTP/1.1", b"GET /hello  HTTP/1.1", b"GET /hello HTTP/1.1 ",
                     b"GET /he llo HTTP/1.1", b"GET /hel\0lo HTTP/1.1", b"G\0ET /hello HTTP/1.1",
                     b"GET /hel\x01lo HTTP/1.1", b"GET /hel\tlo HTTP/1.1", b"G(T /hello HTTP/1.1",
                     b"GET hello HTTP/1.1", b"GET * HTTP/1.1", b"GET ftp://x/ HTTP/1.1",
                     b"GET /hello#a HTTP/1.1", b"GET /hello HTTP/1.1\0", b"GET /hello http/1.1",
                     b"GET /hello HTTP/1", b"GET /hello", b"GET"):
            with self.server.client() as c:
                c.send(line + b"\r\nHost: x\r\n\r\n")
                try:
                    self.assertEqual(c.answer().status, 400, line)
                except EOFError as e:  # libmicrohttpd closes without a word for some
                    self.assertNotIn("HTTP", str(e))
                self.assertTrue(c.closed())
        for version in (b"HTTP/0.9", b"HTTP/2.0"):
            self.refused(b"GET /hello " + version + b"\r\nHost: x\r\n\r\n", 505)

    def test_escapes(self):
        for target in ("/%", "/%4", "/%zz", "/a%00b", "/%u0041", "/?a=%", "/?%00", "/?a=%0", "/?a=b&%"):
            self.refused(request(target=target))

    def test_hosts(self):
        self.refused(b"GET /hello HTTP/1.1\r\n\r\n")
        self.refused(b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.refused(b"GET /hello HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n")

    def test_expectations(self):
        self.refused(request("POST", "/echo", headers=["Expect: a pony"], body=b"a"), 417)

    def test_too_much(self):
        self.refused(request(headers=[f"X{i}: y" for i in range(101)]), 431)
        self.refused(request(headers=["X: " + "y" * 40000]), 431)
        self.refused(request(headers=[f"X{i}: " + "y" * 1000 for i in range(17)]), 431)
        self.refused(request(target="/" + "a" * 10000), 414)
        self.refused(request(target="/?" + "a&" * 101))
        self.assertEqual(self.server.ask(headers=["X-One: " + "y" * 15000]).status, 200)
        self.assertEqual(self.server.ask(target="/" + "a" * 8000).status, 200)
        self.assertEqual(self.server.ask(headers=[f"X{i}: y" for i in range(95)]).status, 200)

    def test_a_head_of_a_megabyte(self):
        for flood in (b"X: " + b"y" * (1 << 20), b"X: y\r\n" * 200000, b"a:\r\n" * 99999):
            with self.server.client() as c:
                try:
                    c.send(b"GET /hello HTTP/1.1\r\nHost: x\r\n" + flood + b"\r\n\r\n")
                    self.assertEqual(c.answer().status, 431)
                except (BrokenPipeError, ConnectionResetError, EOFError):
                    pass  # cut off in the middle
        self.assertEqual(self.server.ask(target="/hello").status, 200)

    def test_chunks(self):
        head = request("POST", "/echo", headers=["Transfer-Encoding: chunked"])
        for body in (b"zz\r\n", b"-1\r\n", b"3\r\nabcd\r\n", b"\r\n", b" 3\r\nabc\r\n",
                     b"0x3\r\nabc\r\n", b"3 \r\nabc\r\n"):
            self.refused(head + body + b"0\r\n\r\n")
        self.refused(head + b"fffffffffffffffff\r\nabc", 413)

    def test_noise(self):
        rng = random.Random(7)
        for _ in range(200):
            with self.server.client(timeout=0.03) as c:
                try:
                    noise = rng.randbytes(rng.randrange(1, 300))
                    c.send(noise + b"\r\n\r\n").socket.shutdown(socket.SHUT_WR)
                    self.assertNotIn(b" 200 ", c.data + (c.more() and c.data or b""))
                except OSError:
                    pass
        good = request("POST", "/echo?a=%41", headers=["X: y", "If-None-Match: \"a\""], body=b"abc")
        for _ in range(300):
            bad = bytearray(good)
            for _ in range(rng.randrange(1, 4)):
                bad[rng.randrange(len(bad))] = rng.choice(b"\0\r\n \t:%&?=aZ0\x80\xff")
            with self.server.client(timeout=0.03) as c:
                try:
                    c.send(bytes(bad)).socket.shutdown(socket.SHUT_WR)
                    while c.more():
                        pass
                except OSError:
                    pass
        self.assertEqual(self.server.ask(target="/hello").status, 200)


class Bodies(Base):
    options = ("memory=65536",)

    def test_sizes_in_memory_and_in_a_file(self):
        for size in (1, 1000, 8192, 65535, 65536, 65537, 200000, 1 << 20):
            body = random.Random(size).randbytes(size)
            self.assertEqual(self.server.ask("POST", "/echo", body=body).body, body)

    def test_no_file_is_left(self):
        before = set(self.dir.iterdir())
        self.server.ask("POST", "/echo", body=b"x" * 500000)
        with self.server.client() as c:
            c.send(request("POST", "/echo", headers=["Content-Length: 500000"]) + b"x" * 300000)
            time.sleep(0.1)
            self.assertEqual(set(self.dir.iterdir()), before)

    def test_declared_too_large(self):
        with self.server.client() as c:
            c.send(request("POST", "/echo?limit=10", headers=["Content-Length: 11"]))
            a = c.answer()  # before any of the body
            self.assertEqual((a.status, a.headers["connection"]), (413, "close"))
            self.assertEqual(a.headers["content-type"], "application/json")
            self.assertIn("x-request-id", a.headers)
            self.assertTrue(c.closed())
        self.assertEqual(self.server.ask("POST", "/echo?limit=10", body=b"x" * 10).status, 200)

    def test_own_words_for_too_large(self):
        a = self.server.ask("POST", "/echo?limit=10&own413", body=b"x" * 11)
        self.assertEqual((a.status, a.body), (413, b"far too large"))
        self.assertEqual(a.headers["content-type"], "text/plain")

    def test_chunks_that_grow_too_large(self):
        with self.server.client() as c:
            c.send(request("POST", "/echo?limit=100", headers=["Transfer-Encoding: chunked"]))
            c.send(b"64\r\n" + b"x" * 100 + b"\r\n1\r\nx\r\n")
            a = c.answer()  # at once, though the body goes on
            self.assertEqual((a.status, a.headers["connection"]), (413, "close"))
            self.assertTrue(c.closed())
        self.assertIn(f"413 POST /echo {len(a.body)}", self.server.log())

    def test_a_body_without_end(self):
        with self.server.client() as c:
            c.send(request("POST", "/echo", headers=["Transfer-Encoding: chunked"]))
            chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            sent = 0
            try:
                while sent < 400 << 20:
                    c.send(chunk)
                    sent += len(chunk)
            except (BrokenPipeError, ConnectionResetError):
                pass
            self.assertLess(sent, 300 << 20)
        if not SANITIZED:
            self.assertLess(self.server.memory(), 100 << 20)

    def test_a_client_that_sends_first_and_reads_then_sees_why(self):
        """Its answer must not be lost to a reset while it still sends."""
        for _ in range(5):
            with self.server.client() as c:
                c.send(request("POST", "/echo", body=b"x" * (8 << 20)))
                self.assertEqual(c.answer().status, 413)
            with self.server.client() as c:
                c.send(request("POST", "/denied", body=b"x" * 900000))
                a = c.answer()
                self.assertEqual((a.status, a.body), (401, b"denied"))
                self.assertEqual(a.headers["www-authenticate"], "Bearer")

    def test_answers_of_on_head(self):
        with self.server.client() as c:
            a = c.send(request("POST", "/denied", headers=["Content-Length: 5"])).answer()
            self.assertEqual(a.status, 401)
            self.assertTrue(c.closed())
        with self.server.client() as c:  # without a body the connection lives
            for _ in range(2):
                self.assertEqual(c.send(request(target="/denied")).answer().status, 401)
            self.assertEqual(c.send(request(target="/hello")).answer().status, 200)

    def test_continue(self):
        with self.server.client() as c:
            c.send(request("POST", "/echo", headers=["Expect: 100-continue", "Content-Length: 3"]))
            self.assertEqual(c.answer().status, 100)
            self.assertEqual(c.send(b"abc").answer().body, b"abc")
            for target, status in (("/denied", 401), ("/echo?limit=2", 413)):
                with self.server.client() as d:
                    d.send(request("POST", target,
                                   headers=["Expect: 100-continue", "Content-Length: 3"]))
                    self.assertEqual(d.answer().status, status)
                    self.assertTrue(d.closed())

    def test_a_client_that_leaves_in_the_middle(self):
        server = self.own("memory=65536", "idle=1")
        for size in (10, 300000):
            with server.client() as c:
                c.send(request("POST", "/echo", headers=["Content-Length: 500000"]) + b"x" * size)
        server.wait(lambda: server.log().count("499 POST /echo 0") == 2)
        server.wait(lambda: (n := server.counts())["seen"] == n["ended"] + 1)

    def test_no_room_for_a_body(self):
        server = self.own("memory=65536", f"dir={self.dir}/missing")
        a = server.ask("POST", "/echo", body=b"x" * 100000)
        self.assertEqual(a.status, 503)
        self.assertIn(b"no room", a.body)
        self.assertEqual(server.ask("POST", "/echo", body=b"x" * 60000).status, 200)

    def test_a_full_disk(self):
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200000, limit[1]))
        try:
            server = self.own("memory=65536")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        a = server.ask("POST", "/echo", body=b"x" * 500000)
        self.assertEqual(a.status, 507)
        self.assertIn(b"disk is full", a.body)
        self.assertEqual(server.ask("POST", "/echo", body=b"x" * 150000).status, 200)


class Files(Base):
    def get(self, *headers, target="/file", method="GET"):
        return self.server.ask(method, target, headers=headers)

    def test_whole(self):
        a = self.get()
        self.assertEqual((a.status, a.body), (200, self.content))
        self.assertEqual(a.headers["etag"], '"tag"')
        self.assertEqual(a.headers["last-modified"], "Sun, 06 Nov 1994 08:49:37 GMT")
        self.assertEqual(a.headers["accept-ranges"], "bytes")
        self.assertEqual(a.headers["cache-control"], "private")
        self.assertEqual(set(a.headers), {"date", "x-request-id", "content-type", "cache-control",
                                          "etag", "last-modified", "accept-ranges",
                                          "content-length"})

    def test_head(self):
        a = self.get("Range: bytes=0-1", method="HEAD")
        self.assertEqual((a.status, a.headers["content-length"]), (200, "300000"))

    def test_parts(self):
        n = len(self.content)
        for text, first, end in (("0-0", 0, 1), ("100-199", 100, 200), ("299999-", 299999, n),
                                 ("-10", n - 10, n), ("5-9999999999", 5, n), ("-9999999", 0, n)):
            a = self.get(f"Range: bytes={text}")
            self.assertEqual((a.status, a.body), (206, self.content[first:end]), text)
            self.assertEqual(a.headers["content-range"], f"bytes {first}-{end - 1}/{n}")

    def test_past_the_end(self):
        for text in ("300000-", "999999999999999999999999-", "-0"):
            a = self.get(f"Range: bytes={text}")
            self.assertEqual((a.status, a.headers["content-range"]), (416, "bytes */300000"))

    def test_what_is_ignored(self):
        for text in ("bytes=0-1,5-6", "bytes=9-5", "lines=1-2", "bytes=", "bytes=a-b", "0-5"):
            self.assertEqual(self.get(f"Range: {text}").status, 200, text)

    def test_if_none_match(self):
        for text in ('"tag"', '"x", "tag"', '*', 'W/"tag"'):
            a = self.get(f"If-None-Match: {text}")
            self.assertEqual((a.status, a.body, a.headers["etag"]), (304, b"", '"tag"'), text)
            self.assertEqual(a.headers["content-length"], "300000")  # of what is not sent
        self.assertEqual(self.get('If-None-Match: "other"').status, 200)
        self.assertEqual(self.get('If-None-Match: "tag"', target="/file?weak").status, 304)
        # it wins over the date and the range
        a = self.get('If-None-Match: "x"', "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT")
        self.assertEqual(a.status, 200)
        self.assertEqual(self.get('If-None-Match: "tag"', "Range: bytes=0-1").status, 304)

    def test_if_modified_since(self):
        for date, status in (("Sun, 06 Nov 1994 08:49:37 GMT", 304),
                             ("Sun, 06 Nov 1994 08:49:38 GMT", 304),
                             ("Sun, 06 Nov 1994 08:49:36 GMT", 200), ("yesterday", 200)):
            self.assertEqual(self.get(f"If-Modified-Since: {date}").status, status, date)

    def test_if_range(self):
        for condition, status in (('"tag"', 206), ('"other"', 200), ('W/"tag"', 200),
                                  ("Sun, 06 Nov 1994 08:49:37 GMT", 206),
                                  ("Sun, 06 Nov 1994 08:49:38 GMT", 200)):
            a = self.get("Range: bytes=0-9", f"If-Range: {condition}")
            self.assertEqual(a.status, status, condition)
        a = self.get("Range: bytes=0-9", 'If-Range: W/"tag"', target="/file?weak")
        self.assertEqual(a.status, 200)

    def test_an_empty_file(self):
        a = self.get(target="/file?empty")
        self.assertEqual((a.status, a.headers["content-length"]), (200, "0"))
        self.assertEqual(self.get("Range: bytes=0-", target="/file?empty").status, 416)

    def test_no_descriptor_is_left(self):
        count = lambda: len(os.listdir(f"/proc/{self.server.process.pid}/fd"))  # noqa: E731
        self.get()
        before = count()
        for _ in range(30):
            for headers in ((), ("Range: bytes=0-1",), ('If-None-Match: "tag"',),
                            ("Range: bytes=999999-",)):
                self.get(*headers)
            self.get(method="HEAD")
            with self.server.client() as c:
                c.send(request(target="/file"))
        self.server.wait(lambda: count() <= before + 2)


class Waiting(Base):
    def test_timeouts(self):
        for ms in (0, 1, 50, 300):
            start = time.monotonic()
            self.assertEqual(self.server.ask(target=f"/park?ms={ms}").body, b"again")
            took = time.monotonic() - start
            self.assertGreaterEqual(took, ms / 1000)
            self.assertLess(took, (ms / 1000 + 0.4) * SLOW)

    def test_timeouts_keep_their_order(self):
        order, lock, threads = [], threading.Lock(), []

        def wait(ms):
            self.server.ask(target=f"/park?ms={ms}")
            with lock:
                order.append(ms)
        times = [int(t * SLOW) for t in (900, 100, 500, 300, 700)]
        for ms in times:
            threads.append(threading.Thread(target=wait, args=(ms,)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        self.assertEqual(order, sorted(times))

    def test_wakes(self):
        clients = [self.server.client() for _ in range(50)]
        before = self.server.counts()["parked"]
        for c in clients:
            c.send(request(target="/park?ms=20000&name=all"))
        self.server.wait(lambda: self.server.counts()["parked"] == before + 50)
        start = time.monotonic()
        self.assertEqual(self.server.ask(target="/wake?name=all").body, b"50")
        for c in clients:
            self.assertEqual(c.answer().body, b"again")
            c.socket.close()
        self.assertLess(time.monotonic() - start, 2 * SLOW)

    def test_a_wake_before_the_park_counts(self):
        start = time.monotonic()
        self.assertEqual(self.server.ask(target="/park?ms=20000&early=1").body, b"again")
        self.assertLess(time.monotonic() - start, 2 * SLOW)

    def test_wakes_from_another_thread_in_any_moment(self):
        clients = [self.server.client() for _ in range(40)]
        for _ in range(3):
            for c in clients:
                c.send(request(target="/storm?n=30"))
            for c in clients:
                self.assertEqual(c.answer().body, b"done")
        for c in clients[::2]:  # leave while being woken
            c.send(request(target="/storm?n=1000"))
        time.sleep(0.02)
        for c in clients:
            c.socket.close()
        self.server.wait(lambda: (n := self.server.counts())["seen"] == n["ended"] + 1)

    def test_clients_that_leave(self):
        before = self.server.counts()["parked"]
        clients = [self.server.client() for _ in range(20)]
        for c in clients:
            c.send(request(target="/park?ms=60000&name=left"))
        self.server.wait(lambda: self.server.counts()["parked"] == before + 20)
        for i, c in enumerate(clients):
            if i % 2:  # with a reset
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.socket.close()
        self.server.wait(lambda: (n := self.server.counts())["seen"] == n["ended"] + 1)
        self.assertEqual(self.server.ask(target="/wake?name=left").body, b"0")
        self.assertIn("499 GET /park 0", self.server.log())

    def test_what_is_sent_while_parked_waits(self):
        with self.server.client() as c:
            c.send(request(target="/park?ms=200"))
            time.sleep(0.05)
            c.send(request(target="/hello"))
            self.assertEqual(c.answer().body, b"again")
            self.assertEqual(c.answer().body, b"hello\n")

    def test_parked_longer_than_idle(self):
        server = self.own("idle=1", "request=1")
        self.assertEqual(server.ask(target="/park?ms=2500").body, b"again")


class Streams(Base):
    def test_events_come_as_they_are_made(self):
        with self.server.client() as c:
            c.send(request(target="/stream?n=3&ms=200"))
            status, headers, _ = c.head()
            self.assertEqual((status, headers["content-type"]), (200, "text/event-stream"))
            self.assertEqual(headers["transfer-encoding"], "chunked")
            start = time.monotonic()
            self.assertEqual(c.chunk(), b"data: 0\n\n")
            self.assertLess(time.monotonic() - start, 0.15 * SLOW)
            self.assertEqual(c.chunk(), b"data: 1\n\n")
            self.assertGreater(time.monotonic() - start, 0.15)
            self.assertEqual(c.chunk(), b"data: 2\n\n")
            self.assertEqual(c.chunk(), b"")
            self.assertEqual(c.send(request(target="/hello")).answer().body, b"hello\n")

    def test_large_and_without_parks(self):
        a = self.server.ask(target="/stream?n=20&size=300000")
        expected = b"".join(b"." * 300000 + b"data: %d\n\n" % i for i in range(20))
        self.assertEqual(a.body, expected)

    def test_clients_that_leave(self):
        clients = []
        for i in range(20):
            c = self.server.client()
            c.send(request(target="/stream?n=100000&ms=20" if i % 2 else
                           "/stream?n=100000&size=100000"))
            c.until(b"data: 0\n\n")
            clients.append(c)
        for i, c in enumerate(clients):
            if i % 3 == 0:
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.socket.close()
        self.server.wait(lambda: (n := self.server.counts())["seen"] == n["ended"] + 1)

    def test_a_client_that_does_not_read_is_cut_off(self):
        server = self.own("idle=1")
        with server.client() as c:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.send(request(target="/stream?n=100000&size=100000"))
            server.wait(lambda: (n := server.counts())["seen"] == n["ended"] + 1, 8)


class SlowClients(Base):
    options = ("idle=1", "request=2")

    def seconds(self, data, drip):
        """Until the connection ends, when that is sent and then the drip again and again."""
        start = time.monotonic()
        with self.server.client(timeout=0.2 / SLOW) as c:
            c.send(data)
            try:
                while time.monotonic() - start < 10 * SLOW:
                    try:
                        if not c.more():
                            time.sleep(0.1)  # the end, or only of what the server has to say
                            c.send(drip or b"x")
                    except TimeoutError:
                        c.send(drip)
            except OSError:
                pass
        return time.monotonic() - start

    def test_all_are_cut_off(self):
        post = request("POST", "/echo", headers=["Content-Length: 100000"])
        chunked = request("POST", "/echo", headers=["Transfer-Encoding: chunked"])
        silent, dripping = 2.5, 4.5
        cases = {"silent": (b"", b"", silent), "in the line": (b"GET /he", b"", silent),
                 "in the body": (post, b"", silent), "line": (b"GET /", b"a", dripping),
                 "headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n", dripping),
                 "body": (post, b"x", dripping), "chunks": (chunked, b"1\r\nx\r\n", dripping),
                 "answered": (request("POST", "/denied", headers=["Content-Length: 100000"]), b"x",
                              dripping)}
        took = {}
        threads = [threading.Thread(target=lambda n, d: took.update({n: self.seconds(*d)}),
                                    args=(name, case[:2])) for name, case in cases.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name, case in cases.items():
            self.assertLess(took[name], case[2] * SLOW, f"{name}: {took}")
            self.assertGreater(took[name], 0.9, f"{name}: {took}")

    def test_they_hold_up_no_one(self):
        slow = []
        for _ in range(300):
            c = self.server.client()
            c.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
            slow.append(c)
        start = time.monotonic()
        for _ in range(50):
            self.assertEqual(self.server.ask(target="/hello").body, b"hello\n")
        self.assertLess(time.monotonic() - start, 1.5 * SLOW)
        for c in slow:
            c.socket.close()


class Connections(Base):
    def test_two_thousand_idle_ones(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 3000:
            self.skipTest("too few file descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3000), hard))
        self.server.ask(target="/hello")
        before = self.server.memory()
        idle = [self.server.client() for _ in range(2000)]
        for c in idle[::2]:
            c.send(request(target="/hello"))
        for c in idle[::2]:
            self.assertEqual(c.answer().body, b"hello\n")
        if not SANITIZED:
            self.assertLess(self.server.memory() - before, 64 << 20)
        start = time.monotonic()
        for _ in range(50):
            self.assertEqual(self.server.ask(target="/hello").body, b"hello\n")
        self.assertLess(time.monotonic() - start, 1 * SLOW)
        for c in idle:
            c.socket.close()

    def test_the_bound_on_connections(self):
        server = self.own("connections=8", "threads=2")
        full = [server.client() for _ in range(8)]
        for c in full:
            self.assertEqual(c.send(request(target="/hello")).answer().status, 200)
        with server.client() as late:  # waits until one leaves
            late.send(request(target="/hello")).socket.settimeout(0.3)
            with self.assertRaises(TimeoutError):
                late.more()
            late.socket.settimeout(5 * SLOW)
            for c in full:
                c.socket.close()
            self.assertEqual(late.answer().status, 200)

    def test_one_thread(self):
        server = self.own("threads=1")
        self.assertEqual(server.ask(target="/park?ms=30").body, b"again")
        self.assertEqual(server.ask("POST", "/echo", body=b"abc").body, b"abc")

    def test_many_short_ones(self):
        for _ in range(300):
            self.assertEqual(self.server.ask(target="/hello", headers=["Connection: close"]).status,
                             200)

    def test_addresses(self):
        server = self.own("listen=localhost:0")
        self.assertEqual(server.ask(target="/hello").status, 200)
        try:
            server = self.own("listen=[::1]:0")
        except RuntimeError as e:
            self.assertIn("no address of this machine", str(e))
            return
        with Client(server.port, host="::1") as c:
            self.assertIn(b"client=::1\n", c.send(request()).answer().body)
        server = self.own("listen=[::]:0")
        self.assertIn(b"client=127.0.0.1\n", server.ask().body)

    def test_addresses_that_cannot_be(self):
        for address, message in ((f"127.0.0.1:{self.server.port}",
                                  f"port {self.server.port} is taken: choose another with --listen"),
                                 ("192.0.2.1:0", "192.0.2.1 is no address of this machine"),
                                 ("8080", "write HOST:PORT"),
                                 ("no-such-host.invalid:80", "cannot find the host")):
            with self.assertRaisesRegex(RuntimeError, message):
                self.start(f"listen={address}")


class Stopping(Base):
    def test_at_once_when_idle(self):
        server = self.own()
        with server.client() as c:
            c.send(request(target="/hello")).answer()
            took, line = server.stop(10000)
            self.assertTrue(c.closed())
        self.assertLess(took, 2 * SLOW)
        self.assertEqual(line, "seen 1 ended 1 logged 1")

    def test_answers_under_way_end(self):
        server = self.own()
        with server.client() as a, server.client() as b, server.client() as c:
            a.send(request(target="/slow?ms=500"))
            b.send(request(target="/park?ms=60000"))
            c.send(request(target="/stream?n=3&ms=100"))
            server.wait(lambda: server.counts()["parked"] == 2)
            server.stop(10000)
            self.assertEqual(a.answer().body, b"slow")
            answer = b.answer()
            self.assertEqual((answer.body, answer.headers["connection"]), (b"stopping", "close"))
            self.assertEqual(c.answer().body, b"data: 0\n\ndata: 1\n\ndata: 2\n\n")

    def test_the_grace_has_an_end(self):
        server = self.own()
        with server.client() as a, server.client() as b, server.client() as c:
            a.send(request(target="/stream?n=100000&ms=20"))
            b.send(request("POST", "/echo", headers=["Content-Length: 5"]) + b"ab")
            c.send(request(target="/storm?n=100000"))
            a.until(b"data: 1\n\n")
            took, line = server.stop(300)
            self.assertLess(took, 3 * SLOW)
            counts = line.split()
            self.assertEqual(counts[1], counts[3])

    def test_no_new_connections(self):
        server = self.own()
        with server.client() as c:
            c.send(request(target="/slow?ms=1500"))
            time.sleep(0.2)
            stopper = threading.Thread(target=server.stop, args=(10000,))
            stopper.start()
            time.sleep(0.3)
            with self.assertRaises(ConnectionRefusedError):
                server.client()
            self.assertEqual(c.answer().body, b"slow")
            stopper.join()

    def test_under_load(self):
        for grace_ms in (0, 50, 500):
            server = self.own()
            done = threading.Event()

            def load(target):
                while not done.is_set():
                    try:
                        server.ask(target=target)
                    except (OSError, EOFError, AssertionError):
                        pass
            threads = [threading.Thread(target=load, args=(t,)) for t in
                       ("/hello", "/park?ms=20", "/stream?n=5&ms=5", "/storm?n=5", "/file") * 2]
            for thread in threads:
                thread.start()
            time.sleep(0.4)
            took, line = server.stop(grace_ms)
            done.set()
            for thread in threads:
                thread.join()
            counts = line.split()
            self.assertEqual(counts[1], counts[3], line)
            self.assertLess(took, 4 * SLOW)


if __name__ == "__main__":
    tap.main(__name__)
