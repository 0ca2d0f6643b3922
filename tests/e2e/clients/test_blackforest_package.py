#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The official blackforest package, unchanged but for base_url; and the other models of its API,
which the package does not know yet, through its own request."""
import base64
import contextlib
import io
import sys
import unittest
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pictures import png, size_of  # noqa: E402
from service import ClientTest  # noqa: E402
import tap  # noqa: E402

try:
    import blackforest
    from blackforest.client import BFLError
    from blackforest.types.general.client_config import ClientConfig
except ImportError:
    blackforest = None


@unittest.skipUnless(blackforest, "the package blackforest is not installed")
class Package(ClientTest):
    def setUp(self):
        self.client = blackforest.BFLClient(self.server.key, base_url=self.server.url)
        # it prints each poll, which is no TAP
        quiet = contextlib.redirect_stdout(io.StringIO())
        quiet.__enter__()
        self.addCleanup(quiet.__exit__, None, None, None)

    def sync(self, model, **inputs):
        config = ClientConfig(sync=True, timeout=60, polling_interval=0.1)
        result = self.client.generate(model, {"prompt": "a cat", **inputs}, config).result
        with urllib.request.urlopen(result["sample"]) as answer:
            return result, answer.read()

    def test_submit_then_poll(self):
        answer = self.client.generate("flux-pro-1.1", {"prompt": "a cat", "width": 256,
                                                       "height": 512, "output_format": "png"})
        self.assertTrue(answer.polling_url.endswith(f"/v1/get_result?id={answer.id}"))
        config = ClientConfig(polling_interval=0.1)
        result = self.client.get_polling_result(answer.id, config)
        with urllib.request.urlopen(result["sample"]) as picture:
            self.assertEqual(size_of(picture.read()), (256, 512))
        status = self.client.get_task_status(answer.id)
        self.assertEqual((status.status, status.result, status.error), ("Ready", result, None))
        self.client.clear_polling_urls()
        self.assertEqual(self.client.get_task_status(answer.id).status, "Ready")

    def test_every_model_that_draws_from_text(self):
        for model in ("flux-dev", "flux-pro", "flux-pro-1.1"):
            result, picture = self.sync(model, width=256, height=288, seed=42)
            self.assertEqual((result["seed"], result["prompt"]), (42, "a cat"))
            self.assertTrue(picture.startswith(b"\xff\xd8\xff"))
        _, picture = self.sync("flux-pro-1.1-ultra", aspect_ratio="16:9", output_format="png")
        self.assertEqual(size_of(picture), (1360, 768))

    def test_editing_a_file(self):
        path = Path(self.folder.name) / "in.png"
        path.write_bytes(png(320, 256))
        _, picture = self.sync("flux-kontext-pro", input_image=str(path),
                               input_image_2=base64.b64encode(png()).decode())
        self.assertEqual(size_of(picture), (320, 256))

    def test_flux_2_through_its_request(self):
        for model in ("flux-2-pro", "flux-2-klein-4b", "flux-2-max"):
            answer = self.client._request("POST", f"v1/{model}", json={
                "prompt": "a cat", "width": 256, "height": 256, "safety_tolerance": 2})
            self.assertEqual(set(answer), {"id", "polling_url", "cost", "input_mp", "output_mp"})
            config = ClientConfig(polling_interval=0.1)
            self.assertIn("sample", self.client.get_polling_result(answer["id"], config))

    def test_errors_say_what_is_wrong(self):
        with self.assertRaisesRegex(BFLError, "image_prompt: is not for FLUX.2 models"):
            self.client.generate("flux-pro-1.1", {"prompt": "x", "image_prompt": "AAAA"})
        with self.assertRaisesRegex(BFLError, "input_image: not a PNG, JPEG or WebP"):
            self.client.generate("flux-kontext-pro", {
                "prompt": "x", "input_image": base64.b64encode(b"no picture").decode()})
        with self.assertRaisesRegex(BFLError, "no such task"):
            self.client.get_task_status("00000000-0000-4000-8000-000000000000")
        self.client.session.headers["X-Key"] = "nonsense"
        with self.assertRaisesRegex(BFLError, "Invalid API key"):
            self.client.generate("flux-dev", {"prompt": "x"})


if __name__ == "__main__":
    tap.main(__name__)
