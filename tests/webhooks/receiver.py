# SPDX-License-Identifier: MIT
"""Receivers of webhooks for test_deliver.py: each a server that behaves by the path."""
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        number = self.server.note(self.path, self.headers, body)
        words = self.path.split("?")[0].strip("/").split("/")
        getattr(self, "on_" + words[0])(number, *words[1:])

    def do_GET(self):
        self.server.note("GET " + self.path, self.headers, b"")
        self.answer(200)

    def answer(self, status, headers=(), body=b""):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def on_ok(self, number, *rest):
        self.answer(200)

    def on_fail(self, number, first_good):
        self.answer(200 if number > int(first_good) else 500, body=b"no\n")

    def on_slow(self, number, seconds):
        time.sleep(float(seconds))
        self.answer(204)

    def on_hang(self, number, *rest):
        self.server.closing.wait(30)
        self.close_connection = True

    def on_redirect(self, number, status):
        self.answer(int(status), [("location", f"http://127.0.0.1:{self.server.port}/ok/moved")])

    def on_status(self, number, status):
        self.answer(int(status))

    def on_busy(self, number, retry_after):
        if number == 1:
            self.answer(503, [("retry-after", retry_after)])
        else:
            self.answer(200)

    def pour(self, head, piece):
        """Without end, until the other side has had enough."""
        self.close_connection = True
        try:
            self.wfile.write(head)
            while not self.server.closing.is_set():
                self.wfile.write(piece)
                self.server.poured += len(piece)
        except OSError:
            pass

    def on_flood(self, number):
        self.pour(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096)

    def on_heads(self, number):
        self.pour(b"HTTP/1.1 200 OK\r\n", b"x-more: " + b"y" * 1000 + b"\r\n")

    def on_garbage(self, number):
        self.wfile.write(b"\x00\x01\x02 this is no HTTP\r\n\r\n")
        self.close_connection = True

    def on_cut(self, number):
        self.close_connection = True

    def log_message(self, *args):
        pass


class Request:
    def __init__(self, path, headers, body):
        self.path, self.body, self.at = path, body, time.time()
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.id = self.headers.get("webhook-id")


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, host="127.0.0.1", tls=None):
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, 0), Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.port = self.server_address[1]
        self.requests, self.lock = [], threading.Lock()
        self.closing, self.poured = threading.Event(), 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def note(self, path, headers, body):
        """Returns how often this path was asked for, with this time."""
        with self.lock:
            self.requests.append(Request(path, headers, body))
            return sum(r.path == path for r in self.requests)

    def of(self, path):
        with self.lock:
            return [r for r in self.requests if r.path == path]

    def wait(self, n, path=None, seconds=10):
        """Until there are n requests; they are returned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.lock:
                found = [r for r in self.requests if path in (None, r.path)]
            if len(found) >= n:
                return found
            time.sleep(0.01)
        raise AssertionError(f"{len(found)} requests to {path or 'the receiver'} in {seconds} s, "
                             f"not {n}")

    def handle_error(self, request, client_address):
        pass

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()
