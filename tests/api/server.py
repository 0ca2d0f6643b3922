# SPDX-License-Identifier: MIT
"""The test server (api_server.c) and an HTTP client for it, in the standard library alone."""
import base64
import contextlib
import http.client
import json
import os
import resource
import struct
import subprocess
import tempfile
import unittest
import zlib
from pathlib import Path


def png(width=64, height=64, noise=False):
    """A PNG of one colour, or of bytes that do not compress."""
    rows = b"".join(b"\0" + (os.urandom(3 * width) if noise else b"\x40\x80\xc0" * width)
                    for _ in range(height))

    def chunk(kind, data):
        return (struct.pack(">I", len(data)) + kind + data +
                struct.pack(">I", zlib.crc32(kind + data)))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0,
                                                              0, 0)) +
            chunk(b"IDAT", zlib.compress(rows, 0 if noise else 6)) + chunk(b"IEND", b""))


def b64(data):
    return base64.b64encode(data).decode()


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    def __init__(self, queue_max=1000, references_max=4, can_enhance=True, public_url=""):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [os.environ["API_SERVER"], self.folder.name, str(queue_max), str(references_max),
             str(int(can_enhance)), public_url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.base = f"http://127.0.0.1:{self.port}"
        self.key = self.new_key("first")

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=20)
        self.process.stdout.close()
        self.folder.cleanup()
        assert code == 0, f"the server ended with {code}"

    def do(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @contextlib.contextmanager
    def full_disk(self):
        """Within it no file may grow: that stands for a full disk."""
        limits = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            yield
        finally:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)

    def new_key(self, name, rate=0, credits=-1):
        return self.do("key", name, rate, credits)["key"]

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, method, path, body=None, key=None, headers=None, header="x-magnific-api-key"):
        """key: None is the first key, "" none. A body that is no bytes is sent as JSON."""
        sent = {} if key == "" else {header: key or self.key}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        connection = self.connect()
        try:
            connection.request(method, path, body,
                               {name: value for name, value in sent.items() if value is not None})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def fetch(self, url):
        assert url.startswith(self.base + "/"), url
        return self.call("GET", url[len(self.base):], key="")

    def access_log(self):
        return [json.loads(line) for line in
                (Path(self.folder.name) / "access.log").read_text().splitlines()]

    def blobs(self):
        return self.do("blobs")["blobs"]


class ServerTest(unittest.TestCase):
    """One server for all tests of a class, which may say how it is to be."""
    options = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(**cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
