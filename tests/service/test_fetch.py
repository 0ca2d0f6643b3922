#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Pictures that a client names by their URL: what other people's servers may answer, how long
they may take and whom that delays, and where the service must not go. How URLs are read is in
tests/webhooks."""
import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from elsewhere import MIB, Elsewhere, bomb  # noqa: E402
from running import PRO, ROOT, ServiceTest, wait_for  # noqa: E402

PICTURE = (ROOT / "tests" / "data" / "pipeline" / "ref-300x270.png").read_bytes()
BFL = "/v1/flux-2-pro"
PRIVATE = "--allow-private-webhooks"
TIMEOUT_S = 10    # of one picture
OF_A_KEY = 64     # pictures under way


def body_of(*urls):
    names = ["input_image"] + [f"input_image_{i}" for i in range(2, 9)]
    return {"prompt": "a", **dict(zip(names, urls))}


class FetchTest(ServiceTest):
    def setUp(self):
        super().setUp()
        self.away = self.elsewhere()

    def elsewhere(self, **kwargs):
        server = Elsewhere(PICTURE, **kwargs)
        self.addCleanup(server.close)
        return server

    def serve(self, *flags, **kwargs):
        server = super().serve("--stub", *flags, **kwargs)
        made = self.easel("key", "create", "many", "--rate", "unlimited")
        server.key = made.stdout.strip()
        return server

    @staticmethod
    def names(text):
        """For serve(env=…): these names and no others end in .test."""
        return {"LD_PRELOAD": os.environ["EASEL_TEST_RESOLVER"], "EASEL_TEST_NAMES": text}

    def submit(self, server, *urls, **fields):
        return server.request("POST", BFL, {**body_of(*urls), **fields})

    def reasons(self, answer):
        """Of a 422: field -> reason; the message has them, too."""
        status, body = answer
        self.assertEqual(status, 422, body)
        found = {}
        for fault in body["detail"]:
            where, field = fault["loc"]
            self.assertEqual(where, "body")
            self.assertIn(f"{field}: {fault['msg']}", body["message"])
            found[field] = fault["msg"]
        return found

    def reason(self, answer, field="input_image"):
        found = self.reasons(answer)
        self.assertEqual(list(found), [field])
        return found[field]

    def later(self, server, *urls, **fields):
        """Submitted by a thread: (answer, seconds), appended to the list that comes back."""
        done = []

        def run():
            start = time.monotonic()
            answer = self.submit(server, *urls, **fields)
            done.append((answer, time.monotonic() - start))
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 60)
        return done

    def no_files_stay(self, server):
        """What was fetched is gone when the request is: the folder is empty, nothing is open."""
        self.assertEqual(list((self.data / "tmp").iterdir()), [])

        def open_files():
            links = []
            for fd in Path(f"/proc/{server.process.pid}/fd").iterdir():
                try:
                    links.append(os.readlink(fd))
                except FileNotFoundError:
                    pass
            return links
        wait_for("fetched files are closed", lambda: not [
            path for path in open_files() if path.startswith(str(self.data / "tmp"))])


class Answers(FetchTest):
    def test_a_picture_is_fetched(self):
        server = self.serve(PRIVATE)
        status, answer = self.submit(server, self.away.url + "/picture?size=large#top")
        self.assertEqual(status, 200, answer)
        self.assertAlmostEqual(answer["input_mp"], 300 * 270 / 2**20)
        server.wait_for_status(answer["id"], "COMPLETED")
        self.assertEqual(self.away.asked, ["/picture?size=large"])
        blobs = [p.read_bytes() for p in (self.data / "blobs").rglob("*") if p.is_file()]
        self.assertIn(PICTURE, blobs)
        self.no_files_stay(server)

    def test_those_of_one_request_are_fetched_at_the_same_time(self):
        server = self.serve(PRIVATE)
        self.away.barrier = threading.Barrier(4)
        urls = [f"{self.away.url}/together/{i}" for i in range(4)]
        status, answer = self.submit(server, *urls)
        self.assertEqual(status, 200, answer)
        self.assertAlmostEqual(answer["input_mp"], 4 * 300 * 270 / 2**20)

    def test_all_that_is_wrong_is_said_at_once(self):
        server = self.serve(PRIVATE)
        found = self.reasons(self.submit(
            server, self.away.url + "/status/404", self.away.url + "/picture",
            "ftp://example.com/", self.away.url + "/text", width=1, webhook_url="mailto:me"))
        self.assertEqual(list(found), ["input_image", "input_image_3", "input_image_4", "width",
                                       "webhook_url"])
        self.assertEqual(found["input_image_3"],
                         "is a URL that is not taken here: send the picture itself, in base64")
        self.assertIn("not a PNG, JPEG or WebP picture", found["input_image_4"])
        self.assertEqual(server.request("GET", "/v1/credits")[0], 200)
        self.assertEqual([p for p in (self.data / "blobs").rglob("*") if p.is_file()], [])

    def test_other_dialects_say_what_to_send(self):
        server = self.serve(PRIVATE)
        status, answer = server.request("POST", PRO, body_of(self.away.url + "/picture"))
        self.assertEqual((status, answer["invalid_params"]), (400, [
            {"name": "input_image",
             "reason": "is a URL that is not taken here: send the picture itself, in base64"}]))
        form = (f"--B\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na\r\n"
                f"--B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n"
                f"{self.away.url}/picture\r\n--B--\r\n")
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/images/edits", form,
                           {"authorization": f"Bearer {server.key}",
                            "content-type": "multipart/form-data; boundary=B"})
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]
        self.assertEqual((answer.status, error["param"], error["message"]), (
            400, "image", "image: is a URL: send the file of the picture itself"))
        self.assertEqual(self.away.asked, [])

    def test_answers_that_are_refused(self):
        server = self.serve(PRIVATE)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        for path, needle in (
                ("/status/404", "its server answers with 404; send a URL that opens without"),
                ("/status/401", "its server answers with 401"),
                ("/status/500", "its server answers with 500"),
                ("/status/206", "its server answers with 206"),
                ("/refusal", "its server answers with 404"),
                ("/moved/302", "redirects (302), which is not followed; send the URL of the"),
                ("/moved/308", "redirects (308)"),
                ("/text", "not a PNG, JPEG or WebP picture"),
                ("/empty", "is empty"),
                ("/zipped", "compressed"),
                ("/declared", "is too large: more than 64 MiB"),
                ("/undeclared", "is too large: more than 64 MiB"),
                ("/heads", "endless headers"),
                ("/cut", "could not be fetched: transfer closed"),
                ("/cut_short", "truncated"),
                ("/garbage", "could not be fetched: "),
                (nobody, "could not be fetched: Failed to connect")):
            with self.subTest(path=path):
                url = path if path == nobody else self.away.url + path
                start = time.monotonic()
                self.assertIn(needle, self.reason(self.submit(server, url)))
                self.assertLess(time.monotonic() - start, TIMEOUT_S - 1)
        self.assertLess(self.away.poured, 128 * MIB)
        self.assertNotIn("/picture", self.away.asked)
        self.no_files_stay(server)

    def test_a_compression_bomb_is_not_unpacked(self):
        server, self.away.bomb = self.serve(PRIVATE), bomb(400)
        self.assertIn("compressed", self.reason(self.submit(server, self.away.url + "/bomb")))
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        peak_kib = int(status.split("VmHWM:")[1].split()[0])
        self.assertLess(peak_kib * 1024, 350 * MIB)  # of 400 unpacked; sanitizers take their own

    def test_together_they_are_bounded(self):
        server = self.serve(PRIVATE)
        urls = [f"{self.away.url}/large/{i}" for i in range(3)]
        for reason in self.reasons(self.submit(server, *urls)).values():
            self.assertIn("may have 128 MiB together", reason)
        self.no_files_stay(server)

    def test_certificates_are_verified(self):
        openssl = shutil.which("openssl")
        if not openssl:
            self.skipTest("the command openssl is not installed")
        pem = self.dir / "pem"
        subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", pem, "-out", pem.with_suffix(".crt"),
                        "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem.with_suffix(".crt"), pem)
        away, server = self.elsewhere(tls=context), self.serve(PRIVATE)
        self.assertIn("certificate", self.reason(self.submit(server, away.url + "/picture")))
        self.assertEqual(away.asked, [])

    def test_ipv6(self):
        try:
            away = self.elsewhere(host="::1")
        except OSError:
            self.skipTest("this machine has no IPv6 loopback")
        server = self.serve(PRIVATE)
        status, answer = self.submit(server, away.url + "/picture")
        self.assertEqual(status, 200, answer)


class Waiting(FetchTest):
    """Slow and dead addresses delay those who named them, for a bounded time, and nobody else."""

    def test_slow_ones_end_and_delay_nobody(self):
        server = self.serve(PRIVATE, env=self.names("never.test=never"))
        slow = [self.away.url + "/silence", self.away.url + "/drip",
                f"http://never.test:{self.away.server_port}/", self.away.url + "/silence"]
        waiting = [self.later(server, *slow) for _ in range(OF_A_KEY // len(slow))]
        wait_for("all are asked for", lambda: len(self.away.asked) == 3 * len(waiting))
        start = time.monotonic()
        status, answer = server.request(
            "POST", PRO, {"prompt": "a", "input_image": base64.b64encode(PICTURE).decode(),
                          "webhook_url": self.away.url + "/hook"})
        self.assertEqual(status, 200, answer)
        self.assertEqual(server.request("GET", "/readyz")[0], 200)
        self.refused_for_now(server)
        other = self.easel("key", "create", "other").stdout.strip()
        status, answer = server.request("POST", BFL, body_of(self.away.url + "/picture"), other)
        self.assertEqual(status, 200, answer)
        self.assertLess(time.monotonic() - start, TIMEOUT_S / 2)
        self.assertEqual([d for d in waiting if d], [])
        for done in waiting:
            answer, seconds = wait_for("it ends", lambda d=done: d)[0]
            found = self.reasons(answer)
            self.assertEqual(len(found), len(slow))
            for reason in found.values():
                self.assertIn(f"did not come within {TIMEOUT_S} s; send the picture in", reason)
            self.assertLess(seconds, 2 * TIMEOUT_S)
        self.no_files_stay(server)
        status, answer = self.submit(server, self.away.url + "/picture")
        self.assertEqual(status, 200, answer)  # its share is free again

    def refused_for_now(self, server):
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        self.addCleanup(connection.close)
        connection.request("POST", BFL, json.dumps(body_of(self.away.url + "/picture")),
                           {"x-key": server.key, "content-type": "application/json"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 503, answer.read())
        self.assertGreater(int(answer.headers["Retry-After"]), 0)

    def test_a_client_that_leaves_ends_its_fetches(self):
        server = self.serve(PRIVATE)
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
        urls = [f"{self.away.url}/silence/{i}" for i in range(4)]
        connection.request("POST", BFL, json.dumps(body_of(*urls)),
                           {"x-key": server.key, "content-type": "application/json"})
        wait_for("all are asked for", lambda: len(self.away.asked) == 4)
        self.assertEqual(self.away.left, [])
        connection.close()
        wait_for("all are left", lambda: len(self.away.left) == 4, TIMEOUT_S - 2)
        self.no_files_stay(server)

    def test_a_stop_ends_them(self):
        server = self.serve(PRIVATE, env=self.names("never.test=never"))
        waiting = self.later(server, self.away.url + "/silence", "http://never.test/")
        wait_for("it is asked for", lambda: self.away.asked)
        start = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - start, TIMEOUT_S - 2)
        status, answer = wait_for("an answer", lambda: waiting)[0][0]
        self.assertEqual(status, 503, answer)
        self.assertIn("about to stop", answer["message"])


class Places(FetchTest):
    """Where the service does not go for a client."""

    def test_the_inner_network_is_closed(self):
        away6 = None
        try:
            away6 = self.elsewhere(host="::1")
        except OSError:
            pass  # without IPv6 nothing can be visited there
        server = self.serve(env=self.names("inner.test=127.0.0.1 inner6.test=::1 "
                                           "mapped.test=::ffff:127.0.0.1 "
                                           "both.test=93.184.215.14,10.0.0.1"))
        port = self.away.server_port
        for host, needle in (
                (f"127.0.0.1:{port}", "127.0.0.1 is a loopback address"),
                (f"localhost:{port}", "localhost is a name of an inner network"),
                (f"[::ffff:127.0.0.1]:{port}", "is a loopback address"),
                (f"2130706433:{port}", "four decimal numbers"),
                (f"0177.0.0.1:{port}", "four decimal numbers"),
                (f"example.com@127.0.0.1:{port}", "user name"),
                (f"inner.test:{port}", "127.0.0.1 is a loopback address"),
                (f"mapped.test:{port}", "is a loopback address"),
                (f"inner6.test:{away6.server_port if away6 else 80}", "::1 is a loopback"),
                ("169.254.169.254", "169.254.169.254 is a link-local address")):
            with self.subTest(host=host):
                answer = self.submit(server, f"http://{host}/picture")
                self.assertIn(needle, self.reason(answer))
                answer = self.submit(server, webhook_url=f"http://{host}/picture")
                self.assertIn(needle, self.reason(answer, "webhook_url"))
        answer = self.submit(server, webhook_url="http://both.test/hook")
        self.assertIn("10.0.0.1 is a private address", self.reason(answer, "webhook_url"))
        self.assertEqual(self.away.asked + (away6.asked if away6 else []), [])

    def test_some_places_stay_closed(self):
        server = self.serve(PRIVATE, env=self.names("cloud.test=169.254.169.254 "
                                                    "zero.test=0.0.0.0"))
        port = self.away.server_port
        for host, needle in (("169.254.169.254", "is a link-local address"),
                             ("cloud.test", "is a link-local address"),
                             (f"0.0.0.0:{port}", "is a reserved address"),
                             (f"zero.test:{port}", "is a reserved address")):
            self.assertIn(needle, self.reason(self.submit(server, f"http://{host}/picture")))
        self.assertEqual(self.away.asked, [])

    def test_a_name_that_changes_its_mind(self):
        """Public when it is submitted, inner when the service goes there."""
        public, inner = "93.184.215.14", "127.0.0.1"
        server = self.serve(env=self.names(f"turn.test={public}/{inner}"))
        url = f"http://turn.test:{self.away.server_port}/hook"
        status, answer = self.submit(server, webhook_url=url)
        self.assertEqual(status, 200, answer)
        wait_for("it is refused", lambda: f"refused: {inner} is a loopback address" in server.log())
        self.assertEqual(self.away.asked, [])

    def test_a_name_without_an_address(self):
        server = self.serve(env=self.names("never.test=never"))
        reason = self.reason(self.submit(server, "http://nothing.test/a.png"))
        self.assertIn("could not be fetched: Could not resolve host: nothing.test; check the URL",
                      reason)
        for name in ("nothing.test", "never.test"):  # it may resolve when it is needed
            status, answer = self.submit(server, webhook_url=f"http://{name}/hook")
            self.assertEqual(status, 200, answer)


if __name__ == "__main__":
    tap.main(__name__)
