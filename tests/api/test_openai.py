#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""OpenAI's dialect: requests that wait, forms, streams, and its errors."""
import base64
import contextlib
import json
import re
import struct
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from server import Answer, Server, ServerTest, png  # noqa: E402

GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
BOUNDARY = "easel-test-boundary"
KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}


def form(*parts):
    """(name, text) or (name, bytes, media type)."""
    body = b""
    for name, content, *kind in parts:
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        if kind:
            body += f'; filename="a.bin"\r\nContent-Type: {kind[0]}'.encode()
        body += b"\r\n\r\n" + (content if isinstance(content, bytes) else content.encode())
        body += b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def kind_of(picture):
    return next(name for magic, name in KINDS.items() if picture.startswith(magic))


class Pending(threading.Thread):
    """A request under way."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.answer = call, None
        self.start()

    def run(self):
        self.answer = self.call()

    def wait(self):
        self.join(20)
        assert self.answer, "no answer came"
        return self.answer


class Case(ServerTest):
    def setUp(self):
        while "task_id" in self.server.do("claim"):
            self.server.do("complete")

    def call(self, method, path, body=None, key=None, headers=None):
        if key != "":
            headers = {"Authorization": f"Bearer {key or self.server.key}", **(headers or {})}
        return self.server.call(method, path, body, key="", headers=headers)

    def edit(self, *parts, headers=None):
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        return self.call("POST", EDITS, form(*parts), headers={"Content-Type": kind,
                                                               **(headers or {})})

    def claim(self):
        for _ in range(500):
            task = self.server.do("claim")
            if "task_id" in task:
                return task
            time.sleep(0.01)
        self.fail("no task came")

    def generate(self, **fields):
        return Pending(lambda: self.call("POST", GENERATIONS, {"prompt": "a cat", **fields}))

    def drawn(self, **fields):
        """Generate one picture: what the worker saw, and the answer."""
        pending = self.generate(**fields)
        claimed = self.claim()
        self.server.do("complete")
        answer = pending.wait()
        self.assertEqual(answer.status, 200, answer.body)
        return claimed, answer.json

    def error(self, answer, status, code, message):
        self.assertEqual(answer.status, status, answer.body)
        error = answer.json["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual(error["code"], code)
        self.assertIn(message, error["message"])
        return error

    def refused(self, param, message, **fields):
        answer = self.call("POST", GENERATIONS, {"prompt": "a cat", **fields})
        code = "missing_required_parameter" if message == "is required" else "invalid_value"
        error = self.error(answer, 400, code, f"{param}: {message}")
        self.assertEqual((error["param"], error["type"]), (param, "invalid_request_error"))
        return error


class Generations(Case):
    def test_an_answer_waits_for_its_picture(self):
        pending = self.generate(seed=7, size="512x256", model="gpt-image-1")
        claimed = self.claim()
        self.assertEqual((claimed["seed"], claimed["width"], claimed["height"],
                          claimed["format"], claimed["model"]), (7, 512, 256, "png", "flux-2-pro"))
        time.sleep(0.1)
        self.assertIsNone(pending.answer)
        self.server.do("complete")
        answer = pending.wait()
        self.assertEqual(answer.status, 200)
        body = answer.json
        item = body["data"][0]
        picture = base64.b64decode(item.pop("b64_json"))
        self.assertEqual(struct.unpack(">II", picture[16:24]), (512, 256))
        self.assertEqual(body["data"], [{"task_id": claimed["task_id"], "seed": 7}])
        self.assertLess(abs(body["created"] - time.time()), 60)
        self.assertEqual((body["size"], body["output_format"], body["background"]),
                         ("512x256", "png", "opaque"))
        self.assertEqual(body["usage"], {
            "input_tokens": 2, "input_tokens_details": {"image_tokens": 0, "text_tokens": 2},
            "output_tokens": 512, "total_tokens": 514})

    def test_several_pictures_have_seeds_that_follow(self):
        pending = self.generate(n=3, seed=4294967295)
        seeds = []
        for _ in range(3):
            seeds.append(self.claim()["seed"])
            self.assertIsNone(pending.answer)
            self.server.do("complete")
        body = pending.wait().json
        self.assertEqual(seeds, [4294967295, 0, 1])
        self.assertEqual([item["seed"] for item in body["data"]], seeds)
        self.assertEqual(body["usage"]["output_tokens"], 3 * 64 * 64)

    def test_formats(self):
        for fields, kind in (({}, "png"), ({"output_format": "jpeg", "output_compression": 80},
                                           "jpeg"),
                             ({"output_format": "webp", "output_compression": 0}, "webp")):
            _, body = self.drawn(size="256x256", **fields)
            self.assertEqual(body["output_format"], kind)
            self.assertEqual(kind_of(base64.b64decode(body["data"][0]["b64_json"])), kind)

    def test_urls(self):
        _, body = self.drawn(response_format="url", size="256x256")
        self.assertNotIn("b64_json", body["data"][0])
        self.assertEqual(self.server.fetch(body["data"][0]["url"]).status, 200)

    def test_sizes(self):
        for size, drawn in ((None, (1024, 1024)), ("auto", (1024, 1024)),
                            ("257x1440", (257, 1440)), ("1536x1024", (1440, 960)),
                            ("1024x1792", (816, 1440))):
            claimed, body = self.drawn(size=size)
            self.assertEqual((claimed["width"], claimed["height"]), drawn)
            self.assertEqual(body["size"], "%dx%d" % drawn)
        for size in ("255x256", "256x1441", "256", "256x", "x256", "256x256x", "256X256", "",
                     "+256x256", "99999999999x256"):
            self.refused("size", 'must be "auto"', size=size)

    def test_a_revised_prompt(self):
        pending = self.generate(prompt_upsampling=True)
        self.assertTrue(self.claim()["enhance"])
        self.server.do("complete", 'a "cat" on a mat')
        self.assertEqual(pending.wait().json["data"][0]["revised_prompt"], 'a "cat" on a mat')

    def test_what_only_its_own_models_know_is_passed_over(self):
        self.drawn(background="transparent", quality="hd", moderation="low", style="vivid",
                   user="u", safety_identifier="s", size="256x256", n=None, stream=None,
                   response_format=None, partial_images=None)

    def test_models_are_listed_under_what_is_here(self):
        for name, listed in (("dall-e-3", "flux-2-pro"), ("flux-2-max", "flux-2-max"),
                             (None, "flux-2-pro")):
            self.assertEqual(self.drawn(model=name, size="256x256")[0]["model"], listed)

    def test_every_fault_at_once(self):
        error = self.refused("prompt", "is required", prompt=None, n=11, stream="yes",
                             partial_images=4, output_format="gif", output_compression=101)
        for field in ("n", "stream", "partial_images", "output_format", "output_compression"):
            self.assertIn(f"; {field}: must be", error["message"])

    def test_a_client_that_leaves_does_not_end_its_task(self):
        connection = self.server.connect()
        connection.request("POST", GENERATIONS, json.dumps({"prompt": "left alone"}),
                           {"Authorization": f"Bearer {self.server.key}",
                            "Content-Type": "application/json"})
        task_id = self.claim()["task_id"]
        connection.close()
        self.server.do("complete")
        listed = self.server.call("GET", f"/v1/ai/text-to-image/flux-2-pro/{task_id}")
        self.assertEqual(listed.json["data"]["status"], "COMPLETED")

    def test_a_retry_with_the_same_key_gets_the_same_pictures(self):
        def call():
            return self.call("POST", GENERATIONS, {"prompt": "x", "n": 2, "size": "256x256"},
                             headers={"Idempotency-Key": "1" * 255})
        pending = Pending(call)
        for _ in range(2):
            self.claim()
            self.server.do("complete")
        self.assertEqual(call().json["data"], pending.wait().json["data"])

    def test_all_pictures_or_none(self):
        poor = self.server.new_key("rich-in-two", 0, 60000)
        answer = self.call("POST", GENERATIONS, {"prompt": "x", "n": 3}, key=poor)
        self.error(answer, 429, "insufficient_quota", "This costs 0.09 credits")
        listed = self.server.call("GET", "/v1/ai/text-to-image/flux-2-pro", key=poor).json["data"]
        self.assertEqual(listed, [])


class Failures(Case):
    def test_a_failed_task_says_why_and_is_not_tried_again(self):
        pending = self.generate(n=2)
        self.claim()
        self.server.do("fail", "the model is gone")
        error = self.error(pending.wait(), 500, "task_failed", "the model is gone")
        self.assertEqual(error["type"], "server_error")
        self.assertEqual(pending.answer.headers["X-Should-Retry"], "false")

    def test_a_cancelled_task(self):
        pending = self.generate()
        for _ in range(500):
            tasks = self.server.call("GET", "/v1/ai/text-to-image/flux-2-pro?limit=1").json["data"]
            if tasks and tasks[0]["status"] == "CREATED":
                break
            time.sleep(0.01)
        self.server.call("DELETE", f"/v1/ai/text-to-image/flux-2-pro/{tasks[0]['task_id']}")
        self.error(pending.wait(), 500, "task_failed", "cancelled")

    def test_keys(self):
        for key in ("", "nonsense"):
            answer = self.call("POST", GENERATIONS, {"prompt": "x"}, key=key)
            self.error(answer, 401, "invalid_api_key", "API key")
            self.assertEqual(answer.headers["WWW-Authenticate"], "Bearer")
        answer = self.call("GET", "/v1/models", key="",
                           headers={"Authorization": f"bearer  {self.server.key}"})
        self.assertEqual(answer.status, 200)

    def test_credits(self):
        poor = self.server.new_key("poor", 0, 1000)
        answer = self.call("POST", GENERATIONS, {"prompt": "x", "n": 3}, key=poor)
        self.error(answer, 429, "insufficient_quota", "This costs 0.09 credits")
        self.assertEqual(answer.headers["X-Should-Retry"], "false")

    def test_rates(self):
        slow = self.server.new_key("slow", 1)
        self.call("POST", GENERATIONS, {"prompt": ""}, key=slow)
        answer = self.call("POST", GENERATIONS, {"prompt": ""}, key=slow)
        self.error(answer, 429, "rate_limit_exceeded", "Too many requests")
        self.assertGreater(int(answer.headers["Retry-After"]), 0)
        self.assertIsNone(answer.headers["X-Should-Retry"])

    def test_bodies(self):
        self.error(self.call("POST", GENERATIONS, b"["), 400, None, "JSON")
        self.error(self.call("POST", GENERATIONS, b""), 400, None, "empty")
        answer = self.call("POST", EDITS, {"prompt": "x"})
        self.error(answer, 415, "unsupported_media_type", "multipart/form-data")
        answer = self.call("GET", GENERATIONS)
        self.error(answer, 405, "method_not_allowed", "method")
        self.assertIn("POST", answer.headers["Allow"])
        self.error(self.call("POST", "/v1/images/variations"), 404, "unknown_url", "path")


class Models(Case):
    def test_models(self):
        model = {"id": "nano", "object": "model", "created": 0, "owned_by": "easel"}
        self.assertEqual(self.call("GET", "/v1/models").json, {"object": "list", "data": [model]})
        self.assertEqual(self.call("GET", "/v1/models/nano").json, model)
        self.error(self.call("GET", "/v1/models/gpt-4"), 404, "model_not_found", "/v1/models")


class Edits(Case):
    def drawn_after(self, *parts):
        pending = Pending(lambda: self.edit(("prompt", "green"), *parts))
        claimed = self.claim()
        self.server.do("complete")
        answer = pending.wait()
        self.assertEqual(answer.status, 200, answer.body)
        return claimed, answer.json

    def refused_form(self, *parts):
        answer = self.edit(*parts)
        self.assertEqual(answer.status, 400, answer.body)
        return answer.json["error"]["message"]

    def test_one_picture(self):
        claimed, body = self.drawn_after(("image", png(300, 400), "image/png"), ("n", "1"),
                                         ("seed", "7"), ("output_format", "jpeg"))
        self.assertEqual((claimed["prompt"], claimed["seed"], claimed["width"],
                          claimed["height"], len(claimed["references"])),
                         ("green", 7, 300, 400, 1))
        self.assertEqual(body["size"], "300x400")
        self.assertEqual(body["usage"]["input_tokens_details"]["image_tokens"], 469)
        self.assertEqual(kind_of(base64.b64decode(body["data"][0]["b64_json"])), "jpeg")

    def test_several_pictures(self):
        claimed, _ = self.drawn_after(*[("image[]", png(64 + i, 64), "image/png")
                                        for i in range(4)], ("size", "256x256"))
        self.assertEqual((len(claimed["references"]), claimed["width"]), (4, 256))
        claimed, _ = self.drawn_after(("image[1]", png(), "application/octet-stream"),
                                      ("image", png()), ("size", "auto"))
        self.assertEqual((len(claimed["references"]), claimed["width"]), (2, 256))

    def test_references_belong_to_each_of_several_tasks(self):
        pending = Pending(lambda: self.edit(("prompt", "x"), ("image", png(), "image/png"),
                                            ("n", "2")))
        names = []
        for _ in range(2):
            names += self.claim()["references"]
            self.server.do("complete")
        self.assertEqual(pending.wait().status, 200)
        self.assertEqual(len(set(names)), 2)

    def test_large_pictures(self):
        big = png(1200, 1200, noise=True)
        claimed, _ = self.drawn_after(("image[]", big, "image/png"), ("image[]", big, "image/png"))
        self.assertEqual((len(claimed["references"]), claimed["width"]), (2, 1200))

    def test_fields_without_a_value_are_absent(self):
        claimed, _ = self.drawn_after(("image", png(), "image/png"), ("size", ""), ("n", ""),
                                      ("model", ""), ("quality", "auto"), ("user", "u"))
        self.assertEqual(claimed["model"], "flux-2-pro")

    def test_faults(self):
        message = self.refused_form(("n", "two"), ("stream", "1"), ("size", "9x9"))
        for part in ("image: is required", "prompt: is required", "n: must be", "stream: must be",
                     "size: must be"):
            self.assertIn(part, message)
        picture = ("image[]", png(), "image/png")
        for parts, reason in (
                ((("image", b"GIF89a", "image/gif"),), "image: not a PNG"),
                ((("image", png()[:-30], "image/png"),), "image: "),
                ((picture, ("image[]", b"", "image/png")), "image[1]: "),
                ([picture] * 5, "image[4]: is one too many: at most 4 pictures are taken"),
                ([picture] * 7, "image[6]: is one too many"),
                ((picture, ("mask", png(), "image/png")), "mask: is not supported"),
                ((picture, ("prompt", "again")), "prompt: must come once"),
                ((picture, ("user", b"\xff")), "user: must be valid UTF-8"),
                ((picture, ("user", b"\0")), "user: must come once, without NUL"),
                ((picture, ("user", "x" * 1025)), "at most 1024 bytes"),
                ((picture, ("prompt", "x" * 32001)), "at most 32000 characters"),
                ((picture, ("seed", "99999999999")), "seed: must be an integer")):
            prompt = [] if any(p[0] == "prompt" and len(p[1]) > 9 for p in parts) else [
                ("prompt", "x")]
            self.assertIn(reason, self.refused_form(*prompt, *parts))
        self.assertEqual(self.refused_form(picture, ("prompt", b"\xff")), "prompt: must be valid UTF-8")

    def test_bodies_that_are_no_forms(self):
        for kind, body, reason in (
                ("multipart/form-data", b"", "needs a boundary"),
                (f"multipart/form-data; boundary={BOUNDARY}", b"", "does not begin"),
                (f"multipart/form-data; boundary={BOUNDARY}",
                 form(("prompt", "x"))[:-6], "cut short"),
                (f"multipart/form-data; boundary={BOUNDARY}",
                 form(("image", png(), "image/png\r\nContent-Transfer-Encoding: base64")),
                 "Content-Transfer-Encoding")):
            answer = self.call("POST", EDITS, body, headers={"Content-Type": kind})
            self.error(answer, 400, None, reason)


class Streams(Case):
    def stream(self, call):
        """The open response, to be read event by event."""
        connection = self.server.connect()
        method, path, body, kind = call
        connection.request(method, path, body, {"Authorization": f"Bearer {self.server.key}",
                                                "Content-Type": kind})
        response = connection.getresponse()
        self.assertEqual((response.status, response.headers["Content-Type"]),
                         (200, "text/event-stream"))
        self.addCleanup(connection.close)
        return response

    def generation(self, **fields):
        body = json.dumps({"prompt": "a cat", "stream": True, "size": "256x256", **fields})
        return self.stream(("POST", GENERATIONS, body, "application/json"))

    def event(self, response):
        """(name, data) of the next one; None at the end. Comments are passed over."""
        name = data = None
        while True:
            line = response.readline().decode()
            if not line:
                return None
            line = line.rstrip("\n")
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
            elif not line and data is not None:
                return name, data

    def test_previews_and_the_picture(self):
        response = self.generation(partial_images=2, seed=5)
        task = self.claim()
        for step, expected in ((1, None), (2, 0), (3, 1)):
            self.server.do("progress", "denoise", step, 4, step / 4, 64 + step)
            if expected is None:
                continue
            name, data = self.event(response)
            self.assertEqual((name, data["type"], data["partial_image_index"], data["size"],
                              data["output_format"]),
                             ("image_generation.partial_image", name, expected, "256x256", "jpeg"))
            self.assertEqual(kind_of(base64.b64decode(data["b64_json"])), "jpeg")
        self.server.do("complete")
        name, data = self.event(response)
        self.assertEqual((name, data["type"], data["output_format"], data["task_id"],
                          data["seed"], data["background"]),
                         ("image_generation.completed", name, "png", task["task_id"], 5,
                          "opaque"))
        self.assertEqual(kind_of(base64.b64decode(data["b64_json"])), "png")
        self.assertEqual(data["usage"]["output_tokens"], 256)
        self.assertIsNone(self.event(response))

    def test_no_previews_unless_asked(self):
        response = self.generation()
        self.claim()
        self.server.do("progress", "denoise", 2, 4, 0.5, 64)
        self.server.do("complete")
        self.assertEqual(self.event(response)[0], "image_generation.completed")
        self.assertIsNone(self.event(response))

    def test_several_pictures_as_they_are_done(self):
        response = self.generation(n=2, seed=1)
        seeds = []
        for _ in range(2):
            self.claim()
            self.server.do("complete")
            seeds.append(self.event(response)[1]["seed"])
        self.assertEqual(sorted(seeds), [1, 2])
        self.assertIsNone(self.event(response))

    def test_a_failure_ends_the_stream(self):
        response = self.generation()
        self.claim()
        self.server.do("fail", "the model is gone")
        name, data = self.event(response)
        self.assertEqual((name, data["error"]["code"]), ("error", "task_failed"))
        self.assertIn("the model is gone", data["error"]["message"])
        self.assertIsNone(self.event(response))

    def test_edits_have_their_own_names(self):
        body = form(("prompt", "x"), ("image", png(256, 256), "image/png"), ("stream", "true"),
                    ("partial_images", "1"))
        response = self.stream(("POST", EDITS, body,
                                f"multipart/form-data; boundary={BOUNDARY}"))
        self.claim()
        self.server.do("progress", "denoise", 2, 4, 0.5, 64)
        self.assertEqual(self.event(response)[0], "image_edit.partial_image")
        self.server.do("complete")
        self.assertEqual(self.event(response)[0], "image_edit.completed")

    def test_faults_are_answered_before_the_stream_begins(self):
        answer = self.call("POST", GENERATIONS, {"prompt": "", "stream": True})
        self.error(answer, 400, "invalid_value", "prompt: must not be blank")


class Waiting(Case):
    def test_an_answer_comes_at_once(self):
        for stream in (False, True):
            # the best of some: what is not woken looks again within a second
            self.assertLess(min(self.wait(stream) for _ in range(4)), 0.4)

    def wait(self, stream):
        """How long the answer takes after the last of its pictures was done."""
        with contextlib.closing(self.server.connect()) as connection:
            connection.request("POST", GENERATIONS,
                               json.dumps({"prompt": "x", "n": 2, "stream": stream}),
                               {"Authorization": f"Bearer {self.server.key}",
                                "Content-Type": "application/json"})
            for _ in range(2):
                self.claim()
                self.server.do("complete")
            done = time.monotonic()
            self.assertEqual(Answer(connection.getresponse()).status, 200)
            return time.monotonic() - done


class FullDisk(Case):
    def test_it_is_told(self):
        with self.server.full_disk():
            answer = self.call("POST", GENERATIONS, {"prompt": "x"})
        self.error(answer, 503, "disk_full", "disk is full")
        self.assertEqual(answer.headers["Retry-After"], "30")


class Stopping(unittest.TestCase):
    def test_who_waits_is_told_that_the_server_stops(self):
        server = Server()
        connections = []
        for stream in (False, True):
            connections.append(server.connect())
            connections[-1].request("POST", GENERATIONS,
                                    json.dumps({"prompt": "x", "stream": stream}),
                                    {"Authorization": f"Bearer {server.key}",
                                     "Content-Type": "application/json"})
        for _ in range(2):
            while "task_id" not in server.do("claim"):
                time.sleep(0.01)
        server.process.stdin.close()
        answer = Answer(connections[0].getresponse())
        self.assertEqual((answer.status, answer.json["error"]["code"]), (503, "server_busy"))
        self.assertEqual(answer.headers["Retry-After"], "5")
        answer = Answer(connections[1].getresponse())
        self.assertEqual(answer.status, 200)
        self.assertIn(b"event: error", answer.body)
        for connection in connections:
            connection.close()
        server.close()


class Description(unittest.TestCase):
    def test_it_is_openapi_and_describes_every_route_of_the_dialects(self):
        server = Server()
        answer = server.call("GET", "/openapi.json", key="")
        server.close()
        self.assertEqual((answer.status, answer.headers["Content-Type"]),
                         (200, "application/json"))
        document = answer.json
        self.assertTrue(document["openapi"].startswith("3.1"))
        for path in (GENERATIONS, EDITS, "/v1/models", "/v1/flux-2-pro", "/v1/get_result",
                     "/v1/ai/text-to-image/flux-2-pro", "/v1/files/{name}", "/metrics"):
            self.assertIn(path, document["paths"])
        self.assert_references_resolve(document, document)

    def test_blank_is_what_the_server_takes_for_blank(self):
        """The pattern of Prompt against the server, at the edges of the pattern's ranges."""
        server = Server()
        pattern = server.call("GET", "/openapi.json", key="").json["components"]["schemas"]["Prompt"]["pattern"]
        known = [c for c in (*range(1, 0x10000), 0x110bd, 0x1d173, 0xe0001) if not 0xd800 <= c <= 0xdfff]
        blank = {c for c in known if not re.search(pattern, chr(c))}
        edges = {c for c in blank if not {c - 1, c + 1} <= blank}
        beyond = {c + step for c in edges for step in (-1, 1)} & (set(known) - blank)
        self.assertGreater(min(len(edges), len(beyond)), 20)
        for codes, status in ((edges, 400), (beyond, 200)):
            for c in codes:
                answer = server.call("POST", "/v1/ai/text-to-image/flux-2-pro", {"prompt": chr(c)})
                self.assertEqual(answer.status, status, hex(c))
        server.close()

    def assert_references_resolve(self, node, document):
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        if isinstance(node, dict) and "$ref" in node:
            target = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
        for child in children:
            self.assert_references_resolve(child, document)


if __name__ == "__main__":
    tap.main(__name__)
