#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The official openai package, unchanged but for base_url."""
import base64
import io
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pictures import png, size_of  # noqa: E402
from service import NANO, ClientTest  # noqa: E402
import tap  # noqa: E402

try:
    import openai
except ImportError:
    openai = None


def needs_package(test):
    return unittest.skipUnless(openai, "the package openai is not installed")(test)


class Case(ClientTest):
    def setUp(self):
        self.client = openai.OpenAI(base_url=self.server.url + "/v1", api_key=self.server.key,
                                    timeout=120)
        self.addCleanup(self.client.close)

    def picture(self, item):
        return base64.b64decode(item.b64_json, validate=True)


@needs_package
class Stub(Case):
    def test_models(self):
        models = list(self.client.models.list())
        self.assertEqual(len(models), 1)
        self.assertEqual(self.client.models.retrieve(models[0].id).owned_by, "easel")

    def test_generate(self):
        answer = self.client.images.generate(
            model="gpt-image-1", prompt="a red apple", size="1024x1024", quality="high",
            background="opaque", moderation="low", user="someone")
        self.assertEqual(size_of(self.picture(answer.data[0])), (1024, 1024))
        self.assertEqual((answer.size, answer.output_format, answer.background, answer.quality),
                         ("1024x1024", "png", "opaque", "high"))
        self.assertEqual(answer.usage.total_tokens,
                         answer.usage.input_tokens + answer.usage.output_tokens)
        self.assertGreater(answer.created, 1.7e9)

    def test_generate_several_as_urls(self):
        answer = self.client.images.generate(prompt="a cat", n=3, size="256x256",
                                             response_format="url", extra_body={"seed": 7})
        self.assertEqual([item.seed for item in answer.data], [7, 8, 9])
        data = [self.client._client.get(item.url).read() for item in answer.data]
        self.assertEqual([size_of(d) for d in data], [(256, 256)] * 3)
        self.assertEqual(len(set(data)), 3)

    def test_other_formats(self):
        for name, magic in (("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")):
            answer = self.client.images.generate(prompt="a cat", output_format=name,
                                                 output_compression=70, size="256x256")
            self.assertTrue(self.picture(answer.data[0]).startswith(magic))

    def test_edit_one_picture(self):
        answer = self.client.images.edit(image=io.BytesIO(png(300, 400)), prompt="make it green")
        self.assertEqual(size_of(self.picture(answer.data[0])), (300, 400))
        self.assertGreater(answer.usage.input_tokens_details.image_tokens, 400)

    def test_edit_several_pictures(self):
        pictures = [("a.png", png(), "image/png"), io.BytesIO(png(80, 80)), png(90, 90)]
        answer = self.client.images.edit(image=pictures, prompt="these together", n=2,
                                         size="512x256", input_fidelity="high", quality="auto")
        self.assertEqual([size_of(self.picture(item)) for item in answer.data], [(512, 256)] * 2)

    def test_stream_of_an_edit(self):
        events = list(self.client.images.edit(image=png(256, 256), prompt="make it green",
                                              stream=True, partial_images=1))
        self.assertEqual(events[-1].type, "image_edit.completed")
        self.assertEqual(size_of(self.picture(events[-1])), (256, 256))

    def test_error_classes(self):
        retries = self.client.with_options(max_retries=5)
        with self.assertRaises(openai.BadRequestError) as caught:
            retries.images.generate(prompt="a cat", size="64x64")
        error = caught.exception
        self.assertEqual((error.code, error.param, error.type),
                         ("invalid_value", "size", "invalid_request_error"))
        self.assertIn("such as 1024x768", error.message)
        self.assertTrue(error.request_id)
        with self.assertRaises(openai.BadRequestError) as caught:
            retries.images.edit(image=b"no picture", prompt="x")
        self.assertEqual(caught.exception.param, "image")
        with self.assertRaises(openai.BadRequestError):
            retries.images.edit(image=png(), mask=png(), prompt="x")
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.client.with_options(api_key="nonsense").models.list()
        self.assertEqual(caught.exception.code, "invalid_api_key")
        with self.assertRaises(openai.NotFoundError):
            retries.models.retrieve("gpt-4")
        with self.assertRaises(openai.NotFoundError):
            retries.images.create_variation(image=png())


@needs_package
class Drawn(Case):
    """The embedded model, small: previews are of the picture as it forms."""
    flags = ("--model", NANO)

    def test_stream(self):
        events = list(self.client.images.generate(
            prompt="a red apple on a blue background", size="256x256", stream=True,
            partial_images=3, output_format="webp"))
        *partial, last = events
        self.assertEqual(last.type, "image_generation.completed")
        self.assertTrue(self.picture(last).startswith(b"RIFF"))
        self.assertEqual((last.output_format, last.size), ("webp", "256x256"))
        self.assertEqual(last.usage.output_tokens, 256)
        self.assertGreater(len(partial), 0)
        self.assertEqual([e.partial_image_index for e in partial], list(range(len(partial))))
        for event in partial:
            self.assertEqual((event.type, event.output_format),
                             ("image_generation.partial_image", "jpeg"))
            self.assertTrue(self.picture(event).startswith(b"\xff\xd8\xff"))

    def test_async_client(self):
        import asyncio

        async def draw():
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1",
                                          api_key=self.server.key) as client:
                return await asyncio.gather(*[
                    client.images.generate(prompt="a green frog", size="256x256",
                                           extra_body={"seed": 3}) for _ in range(2)])
        first, second = asyncio.run(draw())
        self.assertEqual(first.data[0].b64_json, second.data[0].b64_json)
        self.assertNotEqual(first.data[0].task_id, second.data[0].task_id)


if __name__ == "__main__":
    tap.main(__name__)
