#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Requests as the hosted API's documentation shows them, and webhooks verified by Standard Webhooks' own package."""
import base64
import http.server
import json
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pictures import png, size_of  # noqa: E402
from service import ClientTest  # noqa: E402
import tap  # noqa: E402

try:
    import requests
except ImportError:
    requests = None
try:
    from standardwebhooks.webhooks import Webhook
except ImportError:
    Webhook = None

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


class Receiver(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@unittest.skipUnless(requests, "the package requests is not installed")
class Documentation(ClientTest):
    flags = ("--stub", "--allow-private-webhooks", "--webhook-secret", SECRET)

    def setUp(self):
        self.route = self.server.url + "/v1/ai/text-to-image/flux-2-pro"
        self.headers = {"x-magnific-api-key": self.server.key, "Content-Type": "application/json"}

    def wait(self, task_id):
        for _ in range(600):
            data = requests.get(f"{self.route}/{task_id}", headers=self.headers, timeout=30).json()["data"]
            if data["status"] in ("COMPLETED", "FAILED"):
                return data
            time.sleep(0.1)
        raise AssertionError(f"task {task_id} does not end")

    def test_create_and_fetch(self):
        payload = {
            "prompt": "a beautiful sunset over the ocean with dramatic clouds",
            "width": 1024, "height": 768, "seed": 42, "prompt_upsampling": False,
        }
        response = requests.post(self.route, json=payload, headers=self.headers, timeout=30)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.json()["status"], "CREATED")
        data = self.wait(response.json()["task_id"])
        self.assertEqual((data["status"], data["seed"]), ("COMPLETED", 42))
        picture = requests.get(data["generated"][0], timeout=30)  # no key needed
        self.assertEqual(picture.headers["content-type"], "image/png")
        size_of(picture.content)

    def test_four_pictures(self):
        text = base64.b64encode(png()).decode()
        payload = {"prompt": "these four together", "input_image": text, "input_image_2": "data:image/png;base64," + text,
                   "input_image_3": text, "input_image_4": text}
        response = requests.post(self.route, json=payload, headers=self.headers, timeout=30)
        self.assertEqual(response.status_code, 200, response.text)
        self.assertEqual(self.wait(response.json()["task_id"])["status"], "COMPLETED")

    def test_older_header_name(self):
        headers = {"x-freepik-api-key": self.server.key}
        response = requests.get(self.route, headers=headers, timeout=30)
        self.assertEqual(response.status_code, 200)

    @unittest.skipUnless(Webhook, "the package standardwebhooks is not installed")
    def test_webhooks_verify(self):
        receiver = Receiver()
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        payload = {"prompt": "a star", "webhook_url": f"http://127.0.0.1:{receiver.server_port}/hook"}
        task = requests.post(self.route, json=payload, headers=self.headers, timeout=30).json()["task_id"]
        deadline = time.monotonic() + 60
        while not any(json.loads(body)["status"] == "COMPLETED" for _, body in receiver.received):
            self.assertLess(time.monotonic(), deadline, "the webhook of COMPLETED does not come")
            time.sleep(0.05)
        states = []
        for headers, body in receiver.received:
            lower = {name.lower(): value for name, value in headers.items()}
            states.append(Webhook(SECRET).verify(body, lower)["status"])
            with self.assertRaises(Exception):
                Webhook(SECRET).verify(body + b" ", lower)
        self.assertEqual(states, ["CREATED", "IN_PROGRESS", "COMPLETED"])
        asked = requests.get(f"{self.route}/{task}", headers=self.headers, timeout=30).json()["data"]
        self.assertEqual(json.loads(receiver.received[-1][1])["generated"], asked["generated"])


if __name__ == "__main__":
    tap.main(__name__)
