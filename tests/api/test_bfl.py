#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The dialect of Black Forest Labs: what its clients send, and what they read."""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from server import ServerTest, b64, png  # noqa: E402

PRO = "/v1/flux-2-pro"
MISSING = "00000000-0000-4000-8000-000000000000"


class Case(ServerTest):
    def call(self, method, path, body=None, **options):
        return self.server.call(method, path, body, header="x-key", **options)

    def submit(self, path=PRO, **fields):
        """Submit and claim: the task as the worker sees it."""
        answer = self.call("POST", path, {"prompt": "a cat", **fields})
        self.assertEqual(answer.status, 200, answer.body)
        claimed = self.server.do("claim")
        self.assertEqual(claimed["task_id"], answer.json["id"])
        return claimed

    def result(self, task_id):
        answer = self.call("GET", f"/v1/get_result?id={task_id}")
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json

    def faults(self, **fields):
        """field -> message of a 422, in order."""
        answer = self.call("POST", PRO, {"prompt": "a cat", **fields})
        self.assertEqual(answer.status, 422, answer.body)
        for item in answer.json["detail"]:
            self.assertEqual(item["loc"][0], "body")
            self.assertEqual(item["type"],
                             "missing" if item["msg"] == "is required" else "value_error")
            self.assertIn(f'{item["loc"][1]}: {item["msg"]}', answer.json["message"])
        return {item["loc"][1]: item["msg"] for item in answer.json["detail"]}


class Tasks(Case):
    def test_a_task_from_post_to_picture(self):
        answer = self.call("POST", PRO, {"prompt": "a cat", "seed": 7, "width": 512})
        self.assertEqual(answer.status, 200)
        task_id = answer.json["id"]
        self.assertEqual(answer.json, {
            "id": task_id, "polling_url": f"{self.server.base}/v1/get_result?id={task_id}",
            "cost": 0.03, "input_mp": 0.0, "output_mp": 0.5})
        pending = {"id": task_id, "status": "Pending", "result": None, "progress": 0.0,
                   "details": None, "error": None}
        self.assertEqual(self.result(task_id), pending)
        claimed = self.server.do("claim")
        self.assertEqual((claimed["seed"], claimed["width"], claimed["height"],
                          claimed["format"], claimed["model"]),
                         (7, 512, 1024, "jpeg", "flux-2-pro"))
        self.server.do("progress", "denoise", 1, 4, 0.25, 0)
        self.assertEqual(self.result(task_id), {**pending, "progress": 0.25})
        self.server.do("complete")
        ready = self.result(task_id)
        self.assertEqual((ready["status"], ready["progress"]), ("Ready", 1))
        result = ready["result"]
        self.assertEqual((result["prompt"], result["seed"]), ("a cat", 7))
        self.assertAlmostEqual(result["duration"], result["end_time"] - result["start_time"], 2)
        picture = self.server.fetch(result["sample"])
        self.assertEqual((picture.status, picture.headers["Content-Type"]), (200, "image/jpeg"))

    def test_every_model_of_the_table(self):
        for model in ("flux-2-pro", "flux-2-max", "flux-2-flex", "flux-2-dev", "flux-2-klein-4b",
                      "flux-2-klein-9b", "flux-pro-1.1", "flux-kontext-pro"):
            self.assertEqual(self.submit(f"/v1/{model}")["model"], model)
            self.server.do("complete")

    def test_the_prompt_as_drawn(self):
        claimed = self.submit(prompt_upsampling=True)
        self.assertTrue(claimed["enhance"])
        self.server.do("complete", "a cat on a mat")
        self.assertEqual(self.result(claimed["task_id"])["result"]["prompt"], "a cat on a mat")

    def test_a_failed_task_is_an_error_with_its_reason(self):
        task_id = self.submit()["task_id"]
        self.server.do("fail", "the model is gone")
        self.assertEqual(self.result(task_id), {
            "id": task_id, "status": "Error", "result": None, "progress": 0.0,
            "details": {"error": "the model is gone"}, "error": "the model is gone"})

    def test_formats(self):
        for name, kind in (("png", "image/png"), ("webp", "image/webp"), (None, "image/jpeg")):
            task_id = self.submit(output_format=name)["task_id"]
            self.server.do("complete")
            sample = self.result(task_id)["result"]["sample"]
            self.assertEqual(self.server.fetch(sample).headers["Content-Type"], kind)

    def test_nulls_are_absent(self):
        claimed = self.submit(seed=None, width=None, height=None, safety_tolerance=None,
                              input_image=None, input_image_8=None, aspect_ratio=None, mask=None,
                              prompt_upsampling=None, webhook_url=None, webhook_secret=None)
        self.assertEqual((claimed["width"], claimed["height"]), (1024, 1024))
        self.server.do("complete")

    def test_what_other_models_know_is_passed_over(self):
        self.submit(steps=50, guidance=4.5, raw=True, image_prompt_strength=0.1, interval=2,
                    disable_pup="x")
        self.server.do("complete")

    def test_the_magnific_dialect_sees_the_same_task(self):
        task_id = self.submit()["task_id"]
        self.server.do("complete")
        path = f"/v1/ai/text-to-image/flux-2-pro/{task_id}"
        self.assertEqual(self.server.call("GET", path).json["data"]["status"], "COMPLETED")


class Sizes(Case):
    def size(self, **fields):
        claimed = self.submit(**fields)
        self.server.do("complete")
        return claimed["width"], claimed["height"]

    def test_without_any(self):
        self.assertEqual(self.size(), (1024, 1024))
        self.assertEqual(self.size(width=0, height=0), (1024, 1024))
        self.assertEqual(self.size(width=300), (300, 1024))

    def test_as_asked(self):
        self.assertEqual(self.size(width=257, height=1440.0), (257, 1440))
        self.assertEqual(self.size(width=64, height=255), (64, 255))

    def test_of_the_first_picture(self):
        for shape, drawn in (((640, 300), (640, 300)), ((2880, 1440), (1440, 720)),
                             ((100, 100), (256, 256)), ((70, 140), (256, 512)),
                             ((80, 640), (256, 1440)), ((2000, 250), (1440, 256))):
            self.assertEqual(self.size(input_image=b64(png(*shape)),
                                       input_image_2=b64(png(500, 500))), drawn)

    def test_of_a_ratio(self):
        for ratio, drawn in (("1:1", (1024, 1024)), ("16:9", (1360, 768)), ("9:16", (768, 1360)),
                             ("21:9", (1440, 624)), ("1:9999", (256, 1440))):
            self.assertEqual(self.size(aspect_ratio=ratio), drawn)
        self.assertEqual(self.size(aspect_ratio="1:1", width=512, height=256), (512, 256))

    def test_out_of_bounds(self):
        self.assertEqual(self.faults(width=63, height=1441), {
            "width": "must be an integer from 64 to 1440, or 0",
            "height": "must be an integer from 64 to 1440, or 0"})
        self.assertEqual(list(self.faults(width=-1, height="512")), ["width", "height"])
        for ratio in ("16x9", "0:1", "1:0", ":", "1:10000", "01:1", "1.5:1", " 1:1"):
            self.assertIn("such as 16:9", self.faults(aspect_ratio=ratio)["aspect_ratio"])


class Pictures(Case):
    def test_as_base64_and_as_url(self):
        path = Path(self.server.folder.name) / "a&b.png"
        path.write_bytes(png(300, 400))
        claimed = self.submit(input_image=f"http://files{path}", input_image_4=b64(png(64, 64)))
        self.assertEqual((len(claimed["references"]), claimed["width"], claimed["height"]),
                         (2, 300, 400))
        self.server.do("complete")

    def test_a_url_with_json_escapes(self):
        path = Path(self.server.folder.name) / "a&b.png"
        path.write_bytes(png(320, 256))
        text = f"http://files{path}".replace("/", "\\/").replace("&", "\\u0026")
        body = b'{"prompt": "a cat", "input_image": "%s"}' % text.encode()
        answer = self.call("POST", PRO, body)
        self.assertEqual(answer.status, 200, answer.body)
        self.assertEqual(self.server.do("claim")["width"], 320)
        self.server.do("complete")

    def test_a_url_that_cannot_be_fetched(self):
        self.assertIn("cannot be fetched",
                      self.faults(input_image="HTTPS://example.com/a.png")["input_image"])

    def test_megapixels_and_cost(self):
        answer = self.call("POST", PRO, {"prompt": "x", "input_image": b64(png(1024, 512)),
                                         "width": 1440, "height": 1440})
        self.assertEqual((answer.json["input_mp"], answer.json["cost"]), (0.5, 0.0675))
        self.assertAlmostEqual(answer.json["output_mp"], 1440 * 1440 / 2**20)
        self.server.do("claim")
        self.server.do("complete")

    def test_every_fault_at_once_in_order(self):
        before = self.server.blobs()
        faults = self.faults(prompt=" ", input_image="!", input_image_2=b64(png()), input_image_3=7, seed=-1, width=1,
                             aspect_ratio="x", safety_tolerance=9, output_format="gif",
                             prompt_upsampling=1, webhook_url="ftp://x", webhook_secret="whsec_!")
        self.assertEqual(list(faults), [
            "prompt", "input_image", "input_image_3", "seed", "width", "aspect_ratio",
            "safety_tolerance", "output_format", "prompt_upsampling", "webhook_url",
            "webhook_secret"])
        self.assertEqual(self.server.blobs(), before)

    def test_pictures_that_no_flux_2_model_takes(self):
        big = b64(png(800, 800, noise=True))
        faults = self.faults(image_prompt=big, mask=big, input_image_9="x")
        self.assertEqual(list(faults), ["image_prompt", "mask", "input_image_9"])
        self.assertIn("send the picture as input_image", faults["mask"])

    def test_more_pictures_than_the_model_takes(self):
        faults = self.faults(**{f"input_image_{i}": b64(png()) for i in range(2, 8)})
        self.assertEqual(list(faults), ["input_image_6", "input_image_7"])


class Failures(Case):
    def assert_failure(self, answer, status, message):
        self.assertEqual(answer.status, status, answer.body)
        self.assertIn(message, answer.json["message"])
        self.assertIn("detail", answer.json)

    def test_keys(self):
        for key, message in (("", "Missing API key"), ("nonsense", "Invalid API key")):
            answer = self.call("POST", PRO, {"prompt": "x"}, key=key)
            self.assert_failure(answer, 403, message)
            self.assertEqual(answer.json["detail"], answer.json["message"])

    def test_bodies_that_are_no_json_objects(self):
        for body in (b"", b"{", b"[]", b'{"prompt": 1, "prompt": 2}', b"\xff"):
            answer = self.call("POST", PRO, body)
            self.assertEqual(answer.status, 422)
            self.assertEqual(answer.json["detail"][0]["loc"], ["body"])
            self.assertEqual(answer.json["detail"][0]["msg"], answer.json["message"])

    def test_unknown_tasks(self):
        for task_id in (MISSING, "nonsense", "", "%27"):
            answer = self.call("GET", f"/v1/get_result?id={task_id}")
            self.assert_failure(answer, 404, "no such task")
            self.assertEqual(answer.json["status"], "Task not found")
        answer = self.call("GET", "/v1/get_result")
        self.assertEqual((answer.status, answer.json["detail"]),
                         (422, [{"loc": ["query", "id"], "msg": "is required", "type": "missing"}]))

    def test_tasks_of_another_key(self):
        answer = self.call("POST", PRO, {"prompt": "x"})
        other = self.server.new_key("other")
        answer = self.call("GET", f"/v1/get_result?id={answer.json['id']}", key=other)
        self.assert_failure(answer, 404, "no such task")
        self.server.do("claim")
        self.server.do("complete")

    def test_credits(self):
        poor = self.server.new_key("poor", 0, 50000)
        self.assertEqual(self.call("GET", "/v1/credits", key=poor).json, {"credits": 0.05})
        self.assertEqual(self.call("POST", PRO, {"prompt": "x"}, key=poor).status, 200)
        self.assertEqual(self.call("GET", "/v1/credits", key=poor).json, {"credits": 0.02})
        self.assert_failure(self.call("POST", PRO, {"prompt": "x"}, key=poor), 402,
                            "This costs 0.03 credits, and the API key has fewer left.")
        self.assertEqual(self.call("GET", "/v1/credits").json, {"credits": None})
        self.server.do("claim")
        self.server.do("complete")

    def test_rates(self):
        slow = self.server.new_key("slow", 1)
        self.assertEqual(self.call("POST", PRO, {"prompt": ""}, key=slow).status, 422)
        answer = self.call("POST", PRO, {"prompt": ""}, key=slow)
        self.assert_failure(answer, 429, "Too many requests")
        self.assertGreater(int(answer.headers["Retry-After"]), 0)

    def test_methods(self):
        self.assert_failure(self.call("GET", PRO), 405, "method")

    def test_idempotency(self):
        headers = {"Idempotency-Key": "bfl-1"}
        first = self.call("POST", PRO, {"prompt": "x"}, headers=headers)
        again = self.call("POST", PRO, {"prompt": "x"}, headers=headers)
        self.assertEqual(first.json, again.json)
        other = self.call("POST", PRO, {"prompt": "y"}, headers=headers)
        self.assert_failure(other, 409, "Idempotency-Key")
        self.server.do("claim")
        self.server.do("complete")

    def test_a_result_that_was_deleted(self):
        task_id = self.submit()["task_id"]
        self.server.do("complete")
        sample = self.result(task_id)["result"]["sample"]
        self.server.do("delete", sample.split("/")[-1].split("?")[0])
        self.assertEqual(self.server.fetch(sample).status, 404)


class Webhooks(Case):
    def test_each_change_is_told_as_get_tells_it(self):
        answer = self.call("POST", PRO, {"prompt": "x", "webhook_url": "https://example.com/h",
                                         "webhook_secret": "your-secret-key"})
        task_id = answer.json["id"]
        self.server.do("claim")
        self.server.do("progress", "denoise", 1, 4, 0.25, 0)
        self.server.do("complete")
        sent = self.server.do("webhooks")["webhooks"]
        self.assertTrue(all(w["stable"] for w in sent))
        bodies = [json.loads(w["body"]) for w in sent]
        self.assertEqual([(b["task_id"], b["status"]) for b in bodies],
                         [(task_id, "Pending"), (task_id, "Pending"), (task_id, "Ready")])
        ready = self.result(task_id)
        self.assertEqual(bodies[2], {**ready, "task_id": task_id})
        self.assertEqual([b["result"] for b in bodies[:2]], [None, None])

    def test_a_failure_is_told_with_its_reason(self):
        task_id = self.submit(webhook_url="https://example.com/h")["task_id"]
        self.server.do("fail", "the model is gone")
        last = json.loads(self.server.do("webhooks")["webhooks"][-1]["body"])
        self.assertEqual((last["id"], last["status"], last["error"]),
                         (task_id, "Error", "the model is gone"))

    def test_secrets(self):
        for secret in ("x", "x" * 256, "whsec_" + b64(b"x" * 24), "whsec_" + b64(b"x" * 64)):
            self.submit(webhook_secret=secret)
            self.server.do("complete")
        for secret in ("", "x" * 257, "\u00e9", "a\n", "whsec_", "whsec_" + b64(b"x" * 23),
                       "whsec_" + b64(b"x" * 65), "whsec_" + b64(b"x" * 24) + "!"):
            self.assertEqual(list(self.faults(webhook_secret=secret)), ["webhook_secret"])


    def test_a_full_disk(self):
        with self.server.full_disk():
            answer = self.call("POST", PRO, {"prompt": "x"})
        self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "30"))
        self.assertIn("disk is full", answer.json["detail"])
        self.submit()
        self.server.do("complete")


class SmallModel(Case):
    options = {"references_max": 0, "can_enhance": False, "queue_max": 1,
               "public_url": "https://draw.example.org"}

    def test_what_it_cannot_do(self):
        self.assertEqual(self.faults(input_image=b64(png()), prompt_upsampling=True), {
            "input_image": "the model of this server takes no pictures",
            "prompt_upsampling": "must be false: the model of this server cannot enhance prompts"})

    def test_urls_and_a_full_queue(self):
        answer = self.call("POST", PRO, {"prompt": "x"})
        self.assertEqual(answer.json["polling_url"],
                         f"https://draw.example.org/v1/get_result?id={answer.json['id']}")
        full = self.call("POST", PRO, {"prompt": "x"})
        self.assertEqual((full.status, full.headers["Retry-After"]), (503, "5"))
        self.server.do("claim")
        self.server.do("complete")
        sample = self.result(answer.json["id"])["result"]["sample"]
        self.assertTrue(sample.startswith("https://draw.example.org/v1/files/"))


if __name__ == "__main__":
    tap.main(__name__)
