# SPDX-License-Identifier: MIT
"""Other people's servers, which pictures are fetched from: each path behaves as it is called."""
import gzip
import select
import socket
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MIB = 1 << 20


def bomb(mib):
    """So many MiB of zeros in a few kB a MiB."""
    packer, zeros = zlib.compressobj(1, wbits=31), bytes(MIB)
    return b"".join([packer.compress(zeros) for _ in range(mib)] + [packer.flush()])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        name, *words = self.path.split("?")[0].strip("/").split("/")
        self.close_connection = True
        try:
            getattr(self, "on_" + name)(*words)
        except OSError:
            pass

    def answer(self, status, body=b"", length=None, **headers):
        self.send_response(status)
        if length is not False:
            self.send_header("content-length", str(len(body) if length is None else length))
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def hang(self):
        """Until the other side leaves; how it is known that it did."""
        while not self.server.closing.is_set():
            if select.select([self.connection], [], [], 0.05)[0]:
                self.server.left.append(self.path)
                return

    def pour(self, piece, pause_s=0):
        while not self.server.closing.is_set():
            self.wfile.write(piece)
            self.server.poured += len(piece)
            time.sleep(pause_s)

    def on_picture(self, *rest):
        self.answer(200, self.server.picture)

    def on_together(self, *rest):
        """Only when as many ask at a time as the barrier wants."""
        self.server.barrier.wait(30)
        self.answer(200, self.server.picture)

    def on_text(self):
        self.answer(200, b"<html>Please log in</html>")

    def on_empty(self):
        self.answer(200)

    def on_status(self, status):
        self.answer(int(status), b"no")

    def on_moved(self, status):
        self.answer(int(status), location="/picture")

    def on_declared(self):
        self.answer(200, length=64 * MIB + 1)
        self.hang()

    def on_undeclared(self):
        self.answer(200, length=False)
        self.pour(b"\0" * MIB)

    def on_large(self, *rest):
        """A picture with much behind it."""
        body = self.server.picture
        self.answer(200, body + bytes(50 * MIB - len(body)))

    def on_heads(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.pour(b"x-more: " + b"y" * 1000 + b"\r\n")

    def on_cut(self):
        half = self.server.picture[:len(self.server.picture) // 2]
        self.answer(200, half, length=len(self.server.picture))

    def on_cut_short(self):
        """As `cut`, but nothing tells that there was to be more."""
        self.answer(200, self.server.picture[:len(self.server.picture) // 2], length=False)

    def on_garbage(self):
        self.wfile.write(b"\x00\x01\x02 this is no HTTP\r\n\r\n")

    def on_bomb(self):
        self.answer(200, self.server.bomb, content_encoding="gzip")

    def on_zipped(self):
        self.answer(200, gzip.compress(self.server.picture), content_encoding="gzip")

    def on_silence(self, *rest):
        self.hang()

    def on_drip(self):
        self.answer(200, length=1000)
        self.pour(b"x", 0.1)

    def on_refusal(self):
        """404, and a text that does not end."""
        self.answer(404, length=False)
        self.pour(b"no ", 0.1)

    def log_message(self, *args):
        pass


class Elsewhere(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, picture, host="127.0.0.1", tls=None):
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, 0), Handler)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.picture = picture
        self.asked, self.left, self.poured = [], [], 0
        self.closing = threading.Event()
        host = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{host}:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    def close(self):
        self.closing.set()
        self.shutdown()
        self.server_close()
