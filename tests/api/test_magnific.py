#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The first dialect and what all dialects share, over a socket."""
import contextlib
import hashlib
import hmac
import json
import os
import re
import sqlite3
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from server import ServerTest, b64, png  # noqa: E402

PRO = "/v1/ai/text-to-image/flux-2-pro"
KLEIN = "/v1/ai/text-to-image/flux-2-klein"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
SECRET = b"the test's signing secret"


def invalid(answer):
    """name -> reason of a 400, in order."""
    assert answer.status == 400, (answer.status, answer.body)
    return {p["name"]: p["reason"] for p in answer.json["invalid_params"]}


class Case(ServerTest):
    def post(self, path=PRO, key=None, headers=None, **fields):
        return self.server.call("POST", path, fields, key=key, headers=headers)

    def submit(self, path=PRO, **fields):
        answer = self.post(path, **{"prompt": "a cat", **fields})
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json["task_id"]

    def get(self, task_id, path=PRO):
        answer = self.server.call("GET", f"{path}/{task_id}")
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json["data"]

    def drain(self):
        """Let no task wait, so that the next claim is the test's own."""
        while "task_id" in self.server.do("claim"):
            self.server.do("complete")

    def draw(self, **fields):
        self.drain()
        task_id = self.submit(**fields)
        self.assertEqual(self.server.do("claim")["task_id"], task_id)
        self.server.do("complete")
        return task_id


class Tasks(Case):
    def test_a_task_from_post_to_picture(self):
        self.drain()
        answer = self.post(prompt="a cat", seed=7)
        self.assertEqual(answer.status, 200)
        task_id = answer.json["task_id"]
        self.assertRegex(task_id, UUID)
        self.assertEqual(answer.json, {
            "data": {"task_id": task_id, "status": "CREATED", "generated": []},
            "task_id": task_id, "status": "CREATED"})
        task = self.get(task_id)
        self.assertEqual((task["status"], task["generated"], task["progress"], task["seed"],
                          task["width"], task["height"], task["cost"], task["queue_position"]),
                         ("CREATED", [], 0, 7, 1024, 768, 0.03, 1))
        claimed = self.server.do("claim")
        self.assertEqual((claimed["task_id"], claimed["prompt"], claimed["format"],
                          claimed["enhance"]), (task_id, "a cat", "png", False))
        self.server.do("progress", "denoise", 2, 4, 0.5, 0)
        task = self.get(task_id)
        self.assertEqual((task["status"], task["generated"]), ("IN_PROGRESS", []))
        self.assertAlmostEqual(task["progress"], 0.5)
        self.assertNotIn("queue_position", task)
        self.server.do("complete")
        task = self.get(task_id)
        self.assertEqual((task["status"], task["progress"]), ("COMPLETED", 1))
        self.assertNotIn("prompt", task)
        for name in ("created_at", "started_at", "finished_at"):
            self.assertRegex(task[name], r"\A20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        picture = self.server.fetch(task["generated"][0])
        self.assertEqual((picture.status, picture.headers["Content-Type"]), (200, "image/png"))
        self.assertEqual(picture.body[16:24], b"\0\0\x04\0\0\0\x03\0")

    def test_an_enhanced_prompt_is_told(self):
        self.drain()
        task_id = self.submit(prompt_upsampling=True)
        self.assertTrue(self.server.do("claim")["enhance"])
        self.server.do("complete", "a cat on a mat")
        self.assertEqual(self.get(task_id)["prompt"], "a cat on a mat")

    def test_a_failed_task_says_why(self):
        self.drain()
        task_id = self.submit()
        self.server.do("claim")
        self.server.do("fail", "the model is gone")
        task = self.get(task_id)
        self.assertEqual((task["status"], task["error"], task["generated"], task["cost"]),
                         ("FAILED", "the model is gone", [], 0))

    def test_seeds_are_drawn_and_recorded(self):
        seeds = {self.get(self.submit(seed=None))["seed"] for _ in range(3)}
        self.assertEqual(len(seeds), 3)
        self.assertTrue(all(0 <= seed < 2**32 for seed in seeds))
        self.assertEqual(self.get(self.submit(seed=4294967295))["seed"], 4294967295)

    def test_any_size_in_range(self):
        task = self.get(self.submit(width=257, height=1440.0))
        self.assertEqual((task["width"], task["height"]), (257, 1440))

    def test_unknown_fields_are_ignored(self):
        task = self.get(self.submit(aspect_ratio="widescreen_16_9", nonsense={"a": [1]}))
        self.assertEqual((task["width"], task["height"]), (1024, 768))

    def test_both_names_of_the_key_header(self):
        for header in ("x-magnific-api-key", "X-Freepik-API-Key"):
            self.assertEqual(self.server.call("GET", PRO, header=header).status, 200)

    def test_keys_that_are_missing_or_wrong(self):
        answer = self.server.call("POST", PRO, {"prompt": "x"}, key="")
        self.assertEqual((answer.status, answer.json), (401, {"message": "Missing API key"}))
        self.assertIn("x-magnific-api-key", answer.headers["WWW-Authenticate"])
        for key in ("easel_nonsense", "x" * 5000, self.server.key + "x"):
            answer = self.server.call("POST", PRO, {"prompt": "x"}, key=key)
            self.assertEqual((answer.status, answer.json), (401, {"message": "Invalid API key"}))

    def test_a_wrong_key_is_refused_before_the_body_is_sent(self):
        connection = self.server.connect()
        connection.putrequest("POST", PRO)
        connection.putheader("Content-Length", "50000000")
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        self.assertEqual(connection.getresponse().status, 401)
        connection.close()

    def test_tasks_of_others_are_unknown(self):
        task_id = self.submit()
        other = self.server.new_key("other")
        for method in ("GET", "DELETE"):
            answer = self.server.call(method, f"{PRO}/{task_id}", key=other)
            self.assertEqual(answer.status, 404)
            self.assertIn("message", answer.json)
        for path in ("events", "preview"):
            answer = self.server.call("GET", f"/v1/tasks/{task_id}/{path}", key=other)
            self.assertEqual(answer.status, 404)
        self.assertEqual(self.server.call("GET", PRO, key=other).json, {"data": []})
        self.assertEqual(self.get(task_id)["status"], "CREATED")

    def test_unknown_ids(self):
        for task_id in ("046b6c7f-0b8a-43b9-b35d-6489e6daee91", "x", "%00", "..%2f..", "a" * 300):
            self.assertEqual(self.server.call("GET", f"{PRO}/{task_id}").status,
                             400 if task_id == "%00" else 404, task_id)

    def test_a_task_is_found_under_its_own_model(self):
        task_id = self.submit()
        self.assertEqual(self.server.call("GET", f"{KLEIN}/{task_id}").status, 404)

    def test_cancel(self):
        self.drain()
        task_id = self.submit()
        answer = self.server.call("DELETE", f"{PRO}/{task_id}")
        self.assertEqual((answer.status, answer.json["data"]["status"],
                          answer.json["data"]["error"]), (200, "FAILED", "cancelled"))
        self.assertIn("error", self.server.do("claim"))
        running = self.submit()
        self.server.do("claim")
        answer = self.server.call("DELETE", f"{PRO}/{running}")
        self.assertEqual((answer.status, answer.json["data"]["status"]), (200, "IN_PROGRESS"))
        self.assertTrue(self.server.do("progress", "denoise", 1, 4, 0.2, 0)["cancel"])

    def test_lists_are_paged(self):
        key = self.server.new_key("lister")
        ids = [self.post(key=key, prompt=str(i)).json["task_id"] for i in range(5)]

        def page(query):
            return self.server.call("GET", PRO + query, key=key)
        listed = page("").json["data"]
        self.assertEqual(listed, [{"task_id": i, "status": "CREATED"} for i in reversed(ids)])
        self.assertEqual([t["task_id"] for t in page("?limit=2").json["data"]], [ids[4], ids[3]])
        self.assertEqual([t["task_id"] for t in page(f"?limit=2&after={ids[3]}").json["data"]],
                         [ids[2], ids[1]])
        for limit in ("0", "201", "x", "1.5", "-1", "", "9" * 30):
            self.assertIn("limit", invalid(page(f"?limit={limit}")))
        self.assertIn("after", invalid(page("?after=046b6c7f-0b8a-43b9-b35d-6489e6daee91")))
        self.assertIn("after", invalid(page(f"?after={self.submit()}")))

    def test_klein(self):
        task = self.get(self.submit(KLEIN), KLEIN)
        self.assertEqual((task["width"], task["height"]), (1024, 1024))
        for aspect, one, two in (("widescreen_16_9", (1344, 768), (1440, 816)),
                                 ("vertical_1_2", (704, 1408), (720, 1440)),
                                 ("square_1_1", (1024, 1024), (1440, 1440))):
            for resolution, size in (("1k", one), ("2k", two)):
                task = self.get(self.submit(KLEIN, aspect_ratio=aspect, resolution=resolution),
                                KLEIN)
                self.assertEqual((task["width"], task["height"]), size)
        self.drain()
        task_id = self.submit(KLEIN, output_format="jpeg", safety_tolerance=5, width=300)
        claimed = self.server.do("claim")
        self.assertEqual((claimed["format"], claimed["width"], claimed["height"],
                          claimed["model"]), ("jpeg", 300, 1024, "flux-2-klein"))
        self.server.do("complete")
        picture = self.server.fetch(self.get(task_id, KLEIN)["generated"][0])
        self.assertEqual(picture.headers["Content-Type"], "image/jpeg")
        faults = invalid(self.post(KLEIN, prompt="x", aspect_ratio="1:1", resolution="4k",
                                   output_format="gif", safety_tolerance=6))
        self.assertEqual(list(faults),
                         ["aspect_ratio", "resolution", "output_format", "safety_tolerance"])


class Faults(Case):
    def test_every_fault_at_once_in_order(self):
        answer = self.post(webhook_url="ftp://x", input_image_2="x!", width=True, height="7",
                           seed=-1, prompt_upsampling=1, prompt="  ", input_image=7)
        self.assertEqual(answer.json["message"], "Your request parameters didn't validate.")
        self.assertEqual(list(invalid(answer)),
                         ["prompt", "width", "height", "seed", "prompt_upsampling", "input_image",
                          "input_image_2", "webhook_url"])
        self.assertEqual(answer.json["invalid_params"][1],
                         {"name": "width", "reason": "must be an integer from 256 to 1440"})
        self.assertEqual(self.server.blobs(), [])

    def test_numbers(self):
        for value in (255, 1441, 1.5, "1024", True, None, [], 1e9, 2**62):
            self.assertEqual(list(invalid(self.post(prompt="x", width=value))), ["width"])
        for value in (-1, 2**32, 0.5, "1", False):
            self.assertEqual(list(invalid(self.post(prompt="x", seed=value))), ["seed"])

    def test_prompts(self):
        for value in (None, "", " \n\t", "\u2003\u3000\u00a0", "\u200b\u200d\ufeff\x7f", 7, ["a"]):
            self.assertEqual(list(invalid(self.post(prompt=value))), ["prompt"])
        self.assertEqual(invalid(self.post()), {"prompt": "is required"})
        self.assertEqual(self.post(prompt="\u20ac" * 32000).status, 200)
        self.assertEqual(list(invalid(self.post(prompt="\u20ac" * 32001))), ["prompt"])

    def test_bodies_that_are_no_objects(self):
        for body in (b"", b"[]", b"7", b"{", b"{} {}", b'{"prompt":"\xff"}', b"\0",
                     b'{"prompt":"a","prompt":"b"}', b'{"a":' + b"[" * 5000, b'{"prompt":"a',
                     b'{"prompt":"\\u0000"}', b'{"width":1e999}',
                     b'{"a":[' + b"1," * 2000 + b"1]}"):
            answer = self.server.call("POST", PRO, body)
            self.assertEqual(answer.status, 400, body[:20])
            self.assertIn("message", answer.json)
            self.assertNotIn("invalid_params", answer.json)

    def test_media_types(self):
        def post(media_type):
            return self.server.call("POST", PRO, b'{"prompt":"x"}',
                                    headers={"Content-Type": media_type}).status
        for good in ("application/json", "application/json; charset=utf-8", "Application/JSON",
                     None):
            self.assertEqual(post(good), 200, good)
        for bad in ("text/plain", "application/x-www-form-urlencoded", "application/jsonx",
                    "multipart/form-data; boundary=x"):
            self.assertEqual(post(bad), 415, bad)

    def test_methods(self):
        answer = self.server.call("PUT", PRO, {})
        self.assertEqual((answer.status, answer.headers["Allow"]),
                         (405, "POST, GET, HEAD, OPTIONS"))
        self.assertIn("message", answer.json)
        self.assertEqual(self.server.call("POST", "/v1/usage", {}).status, 405)
        self.assertEqual(self.server.call("GET", "/nothing").status, 404)
        self.assertIn("message", self.server.call("GET", "/v1/ai/nothing").json)
        answer = self.server.call("HEAD", PRO)
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_a_body_that_is_too_large(self):
        connection = self.server.connect()
        connection.putrequest("POST", PRO)
        connection.putheader("x-magnific-api-key", self.server.key)
        connection.putheader("Content-Length", str((128 << 20) + 1))
        connection.endheaders()
        answer = connection.getresponse()
        self.assertEqual(answer.status, 413)
        self.assertIn("128 MiB", json.loads(answer.read())["message"])
        connection.close()
        # one that does not say how long it is, where none is expected
        answer = self.server.call("DELETE", PRO + "/x", headers={"Transfer-Encoding": "chunked"},
                                  body=b"10000\r\n" + b"x" * 65536 + b"\r\n1\r\nx\r\n0\r\n\r\n")
        self.assertEqual(answer.status, 413)
        self.assertIn("message", answer.json)

    def test_numbers_of_any_size_in_unknown_fields(self):
        self.assertEqual(self.post(prompt="x", other=10 ** 30).status, 200)
        self.assertEqual(invalid(self.post(prompt="x", seed=10 ** 30)),
                         {"seed": "must be an integer from 0 to 4294967295"})

    def test_idempotency_keys_are_printable(self):
        for key in ("x" * 256, "\u00e4", "a b"):
            answer = self.post(prompt="x", headers={"Idempotency-Key": key.encode("latin-1")})
            self.assertEqual(list(invalid(answer)), ["Idempotency-Key"])


class Pictures(Case):
    def test_pictures_become_references(self):
        self.drain()
        url_safe = b64(png(65, 64)).replace("+", "-").replace("/", "_").rstrip("=")
        self.submit(input_image=b64(png(64, 64)), input_image_3=url_safe, input_image_2=None,
                    input_image_4="data:image/png;base64," + b64(png(512, 64)))
        claimed = self.server.do("claim")
        self.assertEqual(len(claimed["references"]), 3)
        self.assertAlmostEqual(claimed["references_mp"],
                               (64 * 64 + 65 * 64 + 512 * 64) / 2**20)
        folder = Path(self.server.folder.name) / "blobs"
        stored = {p.name: p.read_bytes() for p in folder.rglob("*.png")}
        self.assertEqual([stored[name] for name in claimed["references"]],
                         [png(64, 64), png(65, 64), png(512, 64)])

    def test_references_cost(self):
        task = self.get(self.submit(input_image=b64(png(1024, 512)), width=1440, height=1440))
        self.assertAlmostEqual(task["cost"], 2 * 0.03 + 0.5 * 0.015)

    def test_escapes_and_line_breaks(self):
        text = b64(png(64, 64))
        broken = "\\r\\n".join(text[i:i + 76] for i in range(0, len(text), 76))
        for value in (text.replace("/", "\\/"), broken, broken.replace("\\r\\n", "\n")):
            answer = self.server.call("POST", PRO,
                                      f'{{"prompt":"x","input_image":"{value}"}}'.encode())
            self.assertEqual(answer.status, 200, answer.body)

    def test_bad_pictures(self):
        before = self.server.blobs()
        good = png(64, 64)
        bomb = bytearray(good)
        bomb[16:24] = b"\0\0\x40\0\0\0\x40\0"
        for picture, reason in (
                ("not base64!", "base64"), ("", "empty"), ("http://files/x.png", "base64"),
                (b64(b"GIF89a" + bytes(100)), "PNG, JPEG or WebP"), (b64(good[:-30]), ""),
                (b64(good[:40]), ""), (b64(png(63, 64)), "at least 64"),
                (b64(png(513, 64)), "8:1"), (b64(bytes(bomb)), ""), (7, "base64"),
                ({"a": 1}, "base64"), (True, "base64")):
            faults = invalid(self.post(prompt="x", input_image=b64(good), input_image_2=picture))
            self.assertEqual(list(faults), ["input_image_2"], picture)
            self.assertIn(reason, faults["input_image_2"])
        self.assertEqual(self.server.blobs(), before)

    @unittest.skipIf(os.environ.get("EASEL_SANITIZE", "none") != "none", "they take memory, too")
    def test_a_large_request_takes_little_memory(self):
        before = self.server.do("memory")["peak"]
        pictures = {name: b64(png(2600, 2600, noise=True)) for name in
                    ("input_image", "input_image_2", "input_image_3", "input_image_4")}
        self.submit(**pictures)
        size = sum(map(len, pictures.values()))
        grown = self.server.do("memory")["peak"] - before
        self.assertGreater(size, 100e6)
        self.assertLess(grown, 3 * size, f"{grown} bytes for a body of {size}")


class Abandoned(Case):
    def test_a_client_that_leaves_while_pictures_are_checked(self):
        picture = b64(png(1500, 1500, noise=True))
        body = json.dumps({"prompt": "x", "input_image": picture}).encode()
        known = set(self.server.blobs())
        for wait in (0, 0.02, 0.1):
            connection = self.server.connect()
            connection.request("POST", PRO, body, {"x-magnific-api-key": self.server.key})
            time.sleep(wait)
            connection.close()
        self.submit(input_image=b64(png()))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # what is stored belongs to a task
            while "references" in (claimed := self.server.do("claim")):
                known.update(claimed["references"])
                self.server.do("fail", "enough")
            orphans = set(self.server.blobs()) - known
            if not orphans:
                break
            time.sleep(0.1)
        self.assertEqual(orphans, set())


class SmallModel(Case):
    options = {"references_max": 1, "can_enhance": False, "queue_max": 3,
               "public_url": "https://draw.example.org"}

    def test_what_the_model_cannot_do(self):
        faults = invalid(self.post(prompt="x", prompt_upsampling=True, input_image=b64(png()),
                                   input_image_2=b64(png()), input_image_3=b64(png())))
        self.assertEqual(list(faults), ["prompt_upsampling", "input_image_2", "input_image_3"])
        self.assertIn("at most 1", faults["input_image_2"])

    def test_the_public_url(self):
        task_id = self.draw()
        self.assertTrue(self.get(task_id)["generated"][0].startswith(
            "https://draw.example.org/v1/files/"))

    def test_a_full_queue(self):
        self.drain()
        before = self.server.blobs()
        for _ in range(3):
            self.submit()
        for fields in ({}, {"input_image": b64(png())}):
            answer = self.post(prompt="x", **fields)
            self.assertEqual(answer.status, 503)
            self.assertGreaterEqual(int(answer.headers["Retry-After"]), 1)
            self.assertIn("message", answer.json)
        self.assertEqual(self.server.blobs(), before)
        self.drain()


class Limits(Case):
    def test_the_rate_of_a_key(self):
        key = self.server.new_key("slow", rate=3)
        answers = [self.post(key=key, prompt="x") for _ in range(4)]
        self.assertEqual([a.status for a in answers], [200, 200, 200, 429])
        self.assertEqual([a.headers["X-RateLimit-Remaining"] for a in answers],
                         ["2", "1", "0", "0"])
        self.assertEqual(answers[0].headers["X-RateLimit-Limit"], "3")
        self.assertIn(int(answers[3].headers["Retry-After"]), range(1, 21))
        self.assertIn("message", answers[3].json)
        self.assertEqual(self.server.call("GET", PRO, key=key).status, 200)
        self.assertEqual(self.submit() and 200, 200)

    def test_credits(self):
        key = self.server.new_key("poor", credits=70000)
        self.assertEqual([self.post(key=key, prompt="x").status for _ in range(3)],
                         [200, 200, 402])
        self.assertEqual(self.post(key=key, prompt="x", input_image=b64(png())).status, 402)
        usage = self.server.call("GET", "/v1/usage", key=key).json
        self.assertAlmostEqual(usage["credits_left"], 0.01)

    def test_idempotency(self):
        def post(name, body, **more):
            return self.server.call("POST", PRO, body, headers={"Idempotency-Key": name}, **more)
        first = post("k1", {"prompt": "a"})
        again = post("k1", {"prompt": "a"})
        self.assertEqual((again.status, again.json["task_id"]), (200, first.json["task_id"]))
        self.assertEqual(post("k1", {"prompt": "b"}).status, 409)
        self.assertNotEqual(post("k2", {"prompt": "a"}).json["task_id"], first.json["task_id"])
        other = self.server.new_key("another")
        self.assertNotEqual(post("k1", {"prompt": "a"}, key=other).json["task_id"],
                            first.json["task_id"])
        picture = {"prompt": "a", "input_image": b64(png())}
        first = post("k3", picture)
        before = self.server.blobs()
        self.assertEqual(post("k3", picture).json["task_id"], first.json["task_id"])
        self.assertEqual(self.server.blobs(), before)
        elsewhere = self.server.call("POST", KLEIN, {"prompt": "a"}, headers={"Idempotency-Key": "k2"})
        self.assertEqual(elsewhere.status, 409)

    def test_usage(self):
        key = self.server.new_key("user")
        self.drain()
        self.post(key=key, prompt="x", width=1024, height=1024)
        self.drain()
        usage = self.server.call("GET", "/v1/usage?days=2", key=key, header="x-key").json
        self.assertEqual(usage["total"]["pictures"], 1)
        self.assertAlmostEqual(usage["total"]["cost"], 0.03)
        self.assertEqual((len(usage["data"]), usage["credits_left"], usage["rate_per_minute"]),
                         (1, None, None))
        self.assertEqual(usage["prices"], {"output_mp": 0.03, "reference_mp": 0.015})
        self.assertRegex(usage["data"][0]["day"], r"\A\d{4}-\d\d-\d\d\Z")
        answer = self.server.call("GET", "/v1/usage?days=0", key=key)
        self.assertIn("days", invalid(answer))
        bearer = {"Authorization": f"Bearer {key}"}
        self.assertEqual(self.server.call("GET", "/v1/usage", key="", headers=bearer).status, 200)


class Files(Case):
    def url(self):
        return self.get(self.draw())["generated"][0][len(self.server.base):]

    def fetch(self, path, **headers):
        return self.server.call("GET", path, key="", headers=headers)

    def test_headers_ranges_and_etags(self):
        url = self.url()
        whole = self.fetch(url)
        self.assertRegex(whole.headers["Cache-Control"], r"private, max-age=3\d\d\d, immutable")
        self.assertRegex(whole.headers["Content-Disposition"],
                         r'inline; filename="easel-[0-9a-f]{8}\.png"')
        self.assertEqual(whole.headers["X-Content-Type-Options"], "nosniff")
        part = self.fetch(url, Range="bytes=1-3")
        self.assertEqual((part.status, part.body), (206, b"PNG"))
        same = self.fetch(url, **{"If-None-Match": whole.headers["ETag"]})
        self.assertEqual((same.status, same.body), (304, b""))

    def test_the_url_is_always_the_same(self):
        task_id = self.draw()
        self.assertEqual(self.get(task_id)["generated"], self.get(task_id)["generated"])

    def test_wrong_signatures(self):
        url = self.url()
        name, expires, signature = re.fullmatch(
            r"/v1/files/([^?]*)\?expires=(\d+)&signature=([0-9a-f]+)", url).groups()
        for query in ("", f"?expires={expires}", f"?signature={signature}",
                      f"?expires={int(expires) + 1}&signature={signature}",
                      f"?expires={expires}&signature={'0' * 64}",
                      f"?expires={expires}&signature={signature.upper()}"):
            answer = self.fetch(f"/v1/files/{name}{query}")
            self.assertEqual(answer.status, 403, query)
            self.assertIn("message", answer.json)

    def sign(self, name, expires):
        return hmac.new(SECRET, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()

    def test_expired_and_gone(self):
        url = self.url()
        name = url[len("/v1/files/"):].split("?")[0]
        past = int(time.time()) - 1
        answer = self.fetch(f"/v1/files/{name}?expires={past}&signature={self.sign(name, past)}")
        self.assertEqual(answer.status, 410)
        self.assertIn("its picture with it", answer.json["message"])
        self.server.do("delete", name)
        answer = self.fetch(url)
        self.assertEqual(answer.status, 404)
        self.assertIn("gone", answer.json["message"])

    def test_the_host_header_is_checked(self):
        task_id = self.draw()
        path = f"{PRO}/{task_id}"

        def base(host):
            answer = self.server.call("GET", path, headers={"Host": host})
            return answer.json["data"]["generated"][0].split("/v1/")[0]
        self.assertEqual(base("draw.example:81"), "http://draw.example:81")
        for host in ("evil/path", "a@b", "x y", "a?b", "a\"b"):
            self.assertEqual(base(host), self.server.base)


class Webhooks(Case):
    def test_each_change_once_and_stable(self):
        self.drain()
        self.server.do("webhooks")
        url = "https://example.org/hook?x=1"
        owed = self.server.do("webhooks")["owed"]
        task_id = self.submit(webhook_url=url, seed=5)
        self.server.do("claim")
        self.server.do("progress", "denoise", 1, 4, 0.25, 0)
        self.server.do("complete")
        sent = self.server.do("webhooks")
        self.assertGreater(sent["owed"], owed)
        self.assertEqual([w["state"] for w in sent["webhooks"]],
                         ["CREATED", "IN_PROGRESS", "COMPLETED"])
        for webhook in sent["webhooks"]:
            body = json.loads(webhook["body"])
            self.assertEqual((webhook["url"], webhook["stable"], body["task_id"], body["status"],
                              body["seed"]), (url, True, task_id, webhook["state"], 5))
            self.assertNotIn("progress", body)
        generated = [json.loads(w["body"])["generated"] for w in sent["webhooks"]]
        self.assertEqual(generated, [[], [], self.get(task_id)["generated"]])

    def test_cancelled(self):
        self.drain()
        self.server.do("webhooks")
        task_id = self.submit(webhook_url="https://example.org/")
        self.server.call("DELETE", f"{PRO}/{task_id}")
        bodies = [json.loads(w["body"]) for w in self.server.do("webhooks")["webhooks"]]
        self.assertEqual([(b["status"], b.get("error")) for b in bodies],
                         [("CREATED", None), ("FAILED", "cancelled")])

    def test_addresses_that_are_refused(self):
        for url, reason in (("example.org", "absolute"), ("http://127.0.0.1/", "private"),
                            ("x" * 3000, "2048"), (7, "string")):
            faults = invalid(self.post(prompt="x", webhook_url=url))
            self.assertEqual(list(faults), ["webhook_url"])
            self.assertIn(reason, faults["webhook_url"])


def read_events(response, until=("completed", "failed")):
    """(name, data) until one of the last ones, or the end."""
    events, name = [], None
    for line in response:
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            events.append((name, json.loads(line[6:])))
            if name in until:
                break
    return events


class Events(Case):
    def listen(self, task_id):
        connection = self.server.connect()
        self.addCleanup(connection.close)
        connection.request("GET", f"/v1/tasks/{task_id}/events",
                           headers={"x-magnific-api-key": self.server.key})
        response = connection.getresponse()
        self.assertEqual((response.status, response.headers["Content-Type"]),
                         (200, "text/event-stream"))
        return response

    def test_a_task_as_it_happens(self):
        self.drain()
        task_id = self.submit()
        response = self.listen(task_id)
        first = read_events(response, until=("status",))
        self.assertEqual(first, [("status", {"task_id": task_id, "status": "CREATED",
                                             "queue_position": 1})])
        self.server.do("claim")
        self.assertEqual(read_events(response, until=("status",))[0][1]["status"], "IN_PROGRESS")
        self.server.do("progress", "denoise", 1, 4, 0.25, 64)
        progress, preview = read_events(response, until=("preview",))
        self.assertEqual(progress, ("progress", {"stage": "denoise", "step": 1, "n_steps": 4,
                                                 "progress": 0.25}))
        self.assertEqual((preview[1]["step"], preview[1]["media_type"], preview[1]["data"][:4]),
                         (1, "image/jpeg", "/9j/"))
        picture = self.server.call("GET", f"/v1/tasks/{task_id}/preview")
        self.assertEqual((picture.headers["Content-Type"], b64(picture.body)),
                         ("image/jpeg", preview[1]["data"]))
        self.server.do("complete")
        rest = read_events(response)
        self.assertEqual([name for name, _ in rest], ["status", "completed"])
        self.assertEqual(rest[1][1]["generated"], self.get(task_id)["generated"])
        self.assertEqual(response.read(), b"\n")
        self.assertEqual(self.server.call("GET", f"/v1/tasks/{task_id}/preview").status, 404)

    def test_a_task_that_is_over(self):
        self.drain()
        task_id = self.submit()
        self.server.do("claim")
        self.server.do("fail", "no luck")
        events = read_events(self.listen(task_id))
        self.assertEqual([name for name, _ in events], ["status", "failed"])
        self.assertEqual(events[1][1]["error"], "no luck")

    def test_changes_arrive_at_once(self):
        self.drain()
        task_id = self.submit()
        response = self.listen(task_id)
        read_events(response, until=("status",))
        begin = time.monotonic()
        threading.Timer(0.05, self.server.do, ("claim",)).start()
        read_events(response, until=("status",))
        self.assertLess(time.monotonic() - begin, 0.6)
        time.sleep(0.1)

    def test_listeners_that_leave(self):
        self.drain()
        task_id = self.submit()
        for _ in range(20):
            connection = self.server.connect()
            connection.request("GET", f"/v1/tasks/{task_id}/events",
                               headers={"x-key": self.server.key})
            connection.close()
        self.server.do("claim")
        self.server.do("complete")
        self.assertEqual(self.get(task_id)["status"], "COMPLETED")

    def test_the_head_alone(self):
        answer = self.server.call("HEAD", f"/v1/tasks/{self.submit()}/events")
        self.assertEqual((answer.status, answer.headers["Content-Type"], answer.body),
                         (200, "text/event-stream", b""))

    def test_without_a_key(self):
        task_id = self.submit()
        self.assertEqual(self.server.call("GET", f"/v1/tasks/{task_id}/events", key="").status,
                         401)


class Damaged(Case):
    def test_a_task_whose_request_is_damaged(self):
        task_id = self.submit()
        with contextlib.closing(sqlite3.connect(Path(self.server.folder.name) / "easel.db")) as db:
            db.execute("UPDATE requests SET body = substr(body, 1, 20)")
            db.commit()
        self.assertEqual(self.get(task_id)["status"], "CREATED")
        self.assertNotIn("task_id", self.server.do("claim"))
        task = self.get(task_id)
        self.assertEqual(task["status"], "FAILED")
        self.assertIn("damaged", task["error"])
        self.assertEqual(self.server.call("GET", PRO).json["data"],
                         [{"task_id": task_id, "status": "FAILED"}])
        other = self.server.call("GET", f"/v1/get_result?id={task_id}", header="x-key")
        self.assertEqual((other.status, other.json["status"]), (200, "Error"))


class FullDisk(Case):
    def test_it_is_told_and_passes(self):
        spilled = b64(png(900, 900, noise=True))  # more than is held in memory
        task_id = self.post(prompt="x").json["task_id"]
        with self.server.full_disk():
            for body in ({"prompt": "x"}, {"prompt": "x", "input_image": b64(png())},
                         {"prompt": "x", "input_image": spilled}):
                answer = self.server.call("POST", PRO, body)
                self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "30"))
                self.assertIn("disk is full", answer.json["message"])
            self.assertEqual(self.server.call("DELETE", f"{PRO}/{task_id}").status, 503)
            self.assertEqual(self.get(task_id)["status"], "CREATED")
            time.sleep(1)  # it looks once a second
            answer = self.server.call("GET", "/readyz", key="")
            self.assertEqual((answer.status, answer.json["message"]),
                             (503, "Not ready: the disk is full."))
        for body in ({"prompt": "x"}, {"prompt": "x", "input_image": spilled}):
            self.assertEqual(self.server.call("POST", PRO, body).status, 200)
        time.sleep(1)
        self.assertEqual(self.server.call("GET", "/readyz", key="").status, 200)
        self.assertEqual(self.server.call("DELETE", f"{PRO}/{task_id}").status, 200)


class Seen(Case):
    def test_metrics(self):
        self.draw()
        self.get(self.submit())
        get = f'method="GET",route="{PRO}/{{task-id}}"'
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:  # an answer is counted after it is sent
            answer = self.server.call("GET", "/metrics", key="")
            if get in answer.body.decode():
                break
            time.sleep(0.02)
        self.assertTrue(answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"))
        text = answer.body.decode()
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
        samples = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, labels, value = re.fullmatch(
                    r"([a-z_:]+)(\{[^}]*(?:\{[^}]*\}[^}]*)*\})? (\S+)", line).groups()
                self.assertNotIn((name, labels), samples)
                samples[name, labels] = float(value)
                family = re.sub(r"_(bucket|sum|count)$", "", name)
                kind = types.get(name) or types[family]
                self.assertEqual(name.endswith("_total"), kind == "counter", name)
        self.assertEqual(samples["easel_queue_depth", None], 1)
        self.assertEqual(samples["easel_tasks_finished_total", '{status="completed"}'], 1)
        self.assertEqual(samples["easel_stage_seconds_total", '{stage="denoise"}'], 1.5)
        self.assertGreaterEqual(
            samples["easel_http_requests_total", f'{{{get},status="2xx"}}'], 1)
        self.assertEqual(
            samples["easel_http_request_duration_seconds_bucket", f'{{{get},le="+Inf"}}'],
            samples["easel_http_request_duration_seconds_count", f"{{{get}}}"])
        self.assertIn(("easel_webhooks_tries_total", '{outcome="delivered"}'), samples)

    def test_health(self):
        answer = self.server.call("GET", "/healthz", key="")
        self.assertEqual((answer.status, answer.json["status"]), (200, "ok"))
        self.assertEqual(self.server.call("GET", "/readyz", key="").status, 200)
        self.server.do("ready", 0)
        answer = self.server.call("GET", "/readyz", key="")
        self.server.do("ready", 1)
        self.assertEqual(answer.status, 503)
        self.assertIn("worker", answer.json["message"])
        self.assertNotIn("database", answer.json["message"])

    def test_long_paths_in_the_access_log(self):
        for path in ("a" * 8000, "%22" * 2000, "%c3%a9" * 1000 + "long"):
            self.assertEqual(self.server.call("GET", "/v1/long-" + path).status, 404)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            lines = [x["path"] for x in self.server.access_log()
                     if x["path"].startswith("/v1/long-")]
            if len(lines) == 3:
                break
            time.sleep(0.02)
        self.assertEqual(len(lines), 3)
        for path in lines:
            self.assertTrue(path.endswith("..."))
            self.assertLess(len(json.dumps(path)), 1040)

    def test_the_access_log(self):
        task_id = self.draw(prompt="a secret prompt")
        url = self.get(task_id)["generated"][0]
        picture = self.server.fetch(url)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            lines = [x for x in self.server.access_log()
                     if x["request_id"] == picture.headers["X-Request-Id"]]
            if lines:
                break
            time.sleep(0.02)
        self.assertEqual((lines[0]["method"], lines[0]["status"], lines[0]["route"],
                          lines[0]["client"]),
                         ("GET", 200, "/v1/files/{name}", "127.0.0.1"))
        self.assertGreaterEqual(lines[0]["bytes"], len(picture.body))
        whole = json.dumps(self.server.access_log())
        for secret in (self.server.key, "a secret prompt", "signature", "expires"):
            self.assertNotIn(secret, whole)
        post = [x for x in self.server.access_log() if x["method"] == "POST"][0]
        self.assertEqual((post["key"], post["key_name"], post["path"]),
                         (self.server.key[:12], "first", PRO))

    def test_request_ids(self):
        ids = {self.server.call("GET", "/healthz", key="").headers["X-Request-Id"]
               for _ in range(3)}
        self.assertEqual(len(ids), 3)
        self.assertIn("X-Request-Id", self.server.call("GET", "/nothing", key="").headers)

    def test_browsers_of_other_origins(self):
        asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "x-magnific-api-key"}
        for path in (PRO, "/v1/usage", "/v1/tasks/x/events", "/v1/files/x"):
            answer = self.server.call("OPTIONS", path, key="", headers=asked)
            self.assertEqual((answer.status, answer.headers["Access-Control-Allow-Origin"]),
                             (204, "*"))
            self.assertEqual(answer.headers["Access-Control-Allow-Methods"],
                             answer.headers["Allow"])
        # the star stands for all but this one
        self.assertEqual(answer.headers["Access-Control-Allow-Headers"], "Authorization, *")
        answer = self.server.call("POST", PRO, {}, headers=asked)
        self.assertEqual(answer.headers["Access-Control-Allow-Origin"], "*")
        for path in ("/metrics", "/"):
            answer = self.server.call("GET", path, key="", headers=asked)
            self.assertNotIn("Access-Control-Allow-Origin", answer.headers)

    def test_the_page(self):
        types = {"/": "text/html", "html": "text/html", "css": "text/css", "js": "text/javascript",
                 "svg": "image/svg+xml", "ico": "image/svg+xml"}
        page = self.server.call("GET", "/", key="").body.decode()
        linked = re.findall(r'(?:href|src)="(/(?!openapi)[^"]+)"', page)
        self.assertRegex(" ".join(linked), "/playground/[0-9a-f]{12}/main.js ")
        for path in {*linked, "/", "/favicon.ico"}:
            media_type = types[path.rpartition(".")[2]]
            answer = self.server.call("GET", path, key="")
            self.assertEqual(answer.status, 200)
            self.assertTrue(answer.headers["Content-Type"].startswith(media_type))
            policy = answer.headers["Content-Security-Policy"]
            self.assertIn("default-src 'none'; script-src 'self'; style-src 'self'", policy)
            self.assertIn("frame-ancestors 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual("immutable" in answer.headers["Cache-Control"],
                             path.startswith("/playground/"))
            again = self.server.call("GET", path, key="",
                                     headers={"If-None-Match": answer.headers["ETag"]})
            self.assertEqual((again.status, again.body), (304, b""))
        old = self.server.call("GET", "/playground/000000000000/main.js", key="")
        self.assertEqual((old.status, old.headers["Cache-Control"]), (200, "no-cache"))
        for path in ("/playground/000000000000/nothing.js", "/playground/main.js"):
            self.assertEqual(self.server.call("GET", path, key="").status, 404)

    def test_every_answer_is_guarded(self):
        for method, path in (("GET", "/"), ("GET", PRO), ("GET", "/nothing"), ("PUT", PRO)):
            answer = self.server.call(method, path)
            self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
            self.assertEqual(answer.headers["Referrer-Policy"], "no-referrer")
            self.assertIn("default-src 'none'", answer.headers["Content-Security-Policy"])
        self.assertEqual(self.server.call("GET", PRO).headers["Cache-Control"], "no-store")


if __name__ == "__main__":
    tap.main(__name__)
