#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Webhooks, delivered from a real store to real sockets."""
import base64
import contextlib
import hmac
import json
import os
import resource
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import tap  # noqa: E402
from receiver import Receiver  # noqa: E402

DRIVER = os.environ["EASEL_WEBHOOK_DRIVER"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the driver's
STATES = ["CREATED", "IN_PROGRESS", "COMPLETED"]


class Driver:
    """deliver_driver.c as a process; its commands are methods."""

    def __init__(self, database, private=True, concurrency=0, per_host=0, timeout_ms=5000,
                 backoff=(1,), start=True):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [DRIVER, database, "1" if private else "0", str(concurrency), str(per_host),
             str(timeout_ms), ",".join(map(str, backoff))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            # what curl would listen to, if it were allowed
            env={**os.environ, "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"})
        if start:
            self.do("start")

    def do(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the driver ended: " + self.logged())
        if line.startswith("error: "):
            raise ValueError(line[7:].strip())
        return line.strip()

    def create(self, url, secret="-", *dialect):
        return self.do("create", url, secret, *dialect)

    def entries(self):
        """The outbox, oldest first."""
        found = []
        for text in self.do("list").split("|"):
            if text.strip():
                number, task, state, tries, status, delivered, dead, error = text.split(" ", 7)
                found.append({"id": int(number), "task": task, "state": state, "tries": int(tries),
                              "status": int(status), "delivered": delivered == "1",
                              "dead": dead == "1", "error": error})
        return sorted(found, key=lambda e: e["id"])

    def wait_entries(self, n, condition, seconds=10):
        """Until n entries are so; they are returned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = [entry for entry in self.entries() if condition(entry)]
            if len(found) >= n:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no {n} such entries in {seconds} s: {self.entries()}")

    def wait_entry(self, condition, seconds=10):
        return self.wait_entries(1, condition, seconds)[0]

    def logged(self):
        self.log.seek(0)
        return self.log.read()

    def end(self):
        """Its exit status: a sanitizer's finding is not 0."""
        if self.process.poll() is None:
            self.process.stdin.close()
        code = self.process.wait(20)
        self.process.stdout.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()


class Deliver(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def receiver(self, *args, **options):
        made = Receiver(*args, **options)
        self.addCleanup(made.close)
        return made

    def driver(self, **options):
        made = Driver(os.path.join(self.dir, "easel.db"), **options)
        self.addCleanup(self.end_well, made)
        return made

    def end_well(self, driver):
        if driver.process.returncode is None:
            code = driver.end()
            self.assertEqual(code, 0, driver.logged())

    def url(self, receiver, path):
        return f"http://127.0.0.1:{receiver.port}/{path}"

    def run_tasks(self, driver, n):
        for _ in range(n):
            driver.do("complete", driver.do("begin"))

    # ---- what arrives ----

    def test_every_change_in_order(self):
        r, d = self.receiver(), self.driver()
        ids = [d.create(self.url(r, "ok")) for _ in range(20)]
        self.run_tasks(d, 20)
        r.wait(60)
        self.assertTrue(all(e["status"] == 200 for e in
                            d.wait_entries(60, lambda e: e["delivered"])))
        self.assertEqual(len(r.requests), 60)
        self.assertEqual(len({q.id for q in r.requests}), 60)
        for task in ids:
            seen = [b["status"] for b in (json.loads(q.body) for q in r.requests)
                    if b["task_id"] == task]
            self.assertEqual(seen, STATES)

    def test_order_holds_over_failures(self):
        r, d = self.receiver(), self.driver()
        d.create(self.url(r, "fail/2"))
        self.run_tasks(d, 1)
        seen = [json.loads(q.body)["status"] for q in r.wait(5)]
        self.assertEqual(seen, ["CREATED"] * 3 + STATES[1:])

    def test_request_is_whole(self):
        r, d = self.receiver(), self.driver()
        task = d.create(self.url(r, "ok/path?query=1"))
        got = r.wait(1)[0]
        self.assertEqual(got.path, "/ok/path?query=1")
        self.assertEqual(got.headers["content-type"], "application/json")
        self.assertRegex(got.headers["user-agent"], r"^easel/\d+\.\d+")
        self.assertEqual(got.headers["host"], f"127.0.0.1:{r.port}")
        for name in ("expect", "cookie", "authorization", "accept-encoding"):
            self.assertNotIn(name, got.headers)
        self.assertEqual(json.loads(got.body), {"task_id": task, "status": "CREATED"})

    def check_signature(self, got, key):
        signed = f"{got.id}.{got.headers['webhook-timestamp']}.".encode() + got.body
        mac = base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        self.assertEqual(got.headers["webhook-signature"], "v1," + mac)
        self.assertLess(abs(time.time() - int(got.headers["webhook-timestamp"])), 30)

    def test_signature_of_the_service(self):
        r, d = self.receiver(), self.driver()
        d.create(self.url(r, "ok"))
        self.check_signature(r.wait(1)[0], base64.b64decode(SECRET[6:]))

    def test_signature_of_the_caller(self):
        r, d = self.receiver(), self.driver()
        d.create(self.url(r, "ok"), "short")
        self.check_signature(r.wait(1)[0], b"short")

    def test_signature_of_black_forest_labs(self):
        r, d = self.receiver(), self.driver()
        for n, secret in ((1, "your-secret-key-here"), (2, SECRET)):  # always the text's own bytes
            d.create(self.url(r, "ok"), secret, "bfl")
            got = r.wait(n)[-1]
            mac = hmac.new(secret.encode(), got.body, "sha256").hexdigest()
            self.assertEqual(got.headers["x-bfl-signature"], f"sha256={mac}")
            self.assertIn("webhook-signature", got.headers)
        d.create(self.url(r, "ok"), "-", "bfl")
        d.create(self.url(r, "ok"), "your-secret-key-here")
        self.assertFalse(any("x-bfl-signature" in got.headers for got in r.wait(4)[2:]))

    def test_standard_webhooks_library(self):
        try:
            from standardwebhooks.webhooks import Webhook
        except ImportError:
            self.skipTest("the package standardwebhooks is not installed")
        r, d = self.receiver(), self.driver()
        d.create(self.url(r, "ok"))
        got = r.wait(1)[0]
        Webhook(SECRET).verify(got.body, got.headers)
        with self.assertRaises(Exception):
            Webhook(SECRET).verify(got.body + b" ", got.headers)

    def test_ipv6(self):
        try:
            r = self.receiver("::1")
        except OSError:
            self.skipTest("this machine has no IPv6 loopback")
        d = self.driver()
        d.create(f"http://[::1]:{r.port}/ok")
        r.wait(1)

    # ---- what fails ----

    def test_retries_are_the_same_message(self):
        r, d = self.receiver(), self.driver()
        d.create(self.url(r, "fail/2"))
        got = r.wait(3)
        self.assertEqual(len({q.id for q in got}), 1)
        self.assertEqual(len({q.body for q in got}), 1)
        for q in got:
            self.check_signature(q, base64.b64decode(SECRET[6:]))
        for before, after in zip(got, got[1:]):
            self.assertTrue(0.75 <= after.at - before.at <= 2.5, after.at - before.at)
        self.assertNotEqual(got[0].headers["webhook-timestamp"],
                            got[2].headers["webhook-timestamp"])
        d.wait_entry(lambda e: e["delivered"])

    def test_redirects_are_not_followed(self):
        r, d = self.receiver(), self.driver(backoff=(60,))
        for status in (301, 302, 303, 307, 308):
            d.create(self.url(r, f"redirect/{status}"))
        r.wait(5)
        for entry in d.wait_entries(5, lambda e: e["tries"] == 1):
            self.assertIn("redirects are not followed", entry["error"])
            self.assertFalse(entry["delivered"] or entry["dead"])
        self.assertEqual([q for q in r.requests if "moved" in q.path], [])

    def test_gone_is_dead_until_redelivered(self):
        r, d = self.receiver(), self.driver(backoff=(0,))
        d.create(self.url(r, "status/410"))
        dead = d.wait_entry(lambda e: e["dead"])
        self.assertEqual((dead["status"], dead["tries"]), (410, 1))
        time.sleep(0.3)
        self.assertEqual(len(r.requests), 1)
        self.assertEqual(d.do("redeliver", dead["id"]), "1")
        self.assertEqual(len({q.id for q in r.wait(2)}), 1)

    def test_retry_after(self):
        r, d = self.receiver(), self.driver(backoff=(0,))
        d.create(self.url(r, "busy/2"))
        first, second = r.wait(2)
        self.assertGreater(second.at - first.at, 1.9)

    def test_gone_task_is_dead(self):
        r, d = self.receiver(), self.driver(start=False)
        d.do("forget", d.create(self.url(r, "ok")))
        d.do("start")
        dead = d.wait_entry(lambda e: e["dead"])
        self.assertIn("the task is gone", dead["error"])
        self.assertEqual(r.requests, [])

    def test_bad_answers(self):
        r, d = self.receiver(), self.driver(backoff=(60,), timeout_ms=800)
        closed = socket.socket()
        closed.bind(("127.0.0.1", 0))
        cases = {"status/404": "HTTP 404", "status/500": "HTTP 500", "garbage": "",
                 "cut": "", "hang": "no answer within 0.8 s"}
        for path in cases:
            d.create(self.url(r, path))
        d.create(f"http://127.0.0.1:{closed.getsockname()[1]}/ok")
        wanted = [*cases.values(), "connect"]
        entries = d.wait_entries(6, lambda e: e["tries"] == 1)
        for entry, text in zip(entries, wanted):
            self.assertFalse(entry["delivered"] or entry["dead"], entry)
            self.assertNotEqual(entry["error"], "-")
            self.assertIn(text, entry["error"])
        closed.close()

    def test_silence_on_a_connection_that_was_kept(self):
        r, d = self.receiver(), self.driver(backoff=(60,), timeout_ms=800)
        d.create(self.url(r, "status/404"))
        d.wait_entry(lambda e: e["tries"] == 1)
        d.create(self.url(r, "hang"))
        entry = d.wait_entries(2, lambda e: e["tries"] == 1)[1]
        self.assertEqual(entry["error"], "no answer within 0.8 s")

    def test_endless_answers_are_cut(self):
        r, d = self.receiver(), self.driver(timeout_ms=20000)
        for n, path in enumerate(("flood", "heads"), 1):
            r.poured = 0
            d.create(self.url(r, path))
            d.wait_entries(n, lambda e: e["delivered"] and e["status"] == 200, 3)
            # beyond what is read there are the sockets' buffers
            self.assertLess(r.poured, 32 << 20)

    def test_certificates_are_verified(self):
        openssl = shutil.which("openssl")
        if not openssl:
            self.skipTest("the command openssl is not installed")
        pem = os.path.join(self.dir, "pem")
        subprocess.run([openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:P-256", "-nodes", "-keyout", pem, "-out", pem + ".crt",
                        "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
                        "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem + ".crt", pem)
        r, d = self.receiver(tls=context), self.driver(backoff=(60,))
        d.create(f"https://127.0.0.1:{r.port}/ok")
        failed = d.wait_entry(lambda e: e["tries"] == 1)
        self.assertIn("certificate", failed["error"])
        self.assertEqual(r.requests, [])

    # ---- where it must not go ----

    def test_inner_addresses_are_refused(self):
        r, d = self.receiver(), self.driver(private=False)
        urls = [self.url(r, "ok"), f"http://localhost:{r.port}/ok", f"http://[::1]:{r.port}/ok",
                f"http://[::ffff:127.0.0.1]:{r.port}/ok", f"http://2130706433:{r.port}/ok"]
        for url in urls:
            with self.assertRaisesRegex(ValueError, "^must"):
                d.do("check", url)
            d.create(url)  # as if it had been allowed when it was submitted
        d.wait_entries(len(urls), lambda e: e["dead"])
        self.assertEqual(r.requests, [])

    def test_inner_names_are_refused_at_connect(self):
        """A name that says nothing of where it leads: this machine's own."""
        name = socket.gethostname()
        try:
            found = {a[4][0] for a in socket.getaddrinfo(name, 80)}
        except OSError:
            found = set()
        r, d = self.receiver("0.0.0.0"), self.driver(private=False, backoff=(60,))
        if not found or name == "localhost" or not all(
                a.startswith(("127.", "10.", "192.168.", "172.", "169.254.", "::1", "f"))
                for a in found):
            self.skipTest(f"{name} does not resolve to inner addresses alone: {found}")
        d.create(f"http://{name}:{r.port}/ok")
        failed = d.wait_entry(lambda e: e["tries"] == 1)
        self.assertRegex(failed["error"], "^refused: .* where webhooks must not go")
        self.assertEqual(r.requests, [])

    # ---- many at once ----

    def test_hanging_ones_delay_no_other(self):
        quick, hanging, dead = self.receiver(), self.receiver(), socket.socket()
        dead.bind(("127.0.0.1", 0))
        d = self.driver(start=False, timeout_ms=15000)
        for _ in range(20):
            d.create(self.url(hanging, "hang"))
            d.create(f"http://127.0.0.1:{dead.getsockname()[1]}/ok")
        for _ in range(100):
            d.create(self.url(quick, "ok"))
        d.do("start")
        began = time.time()
        got = quick.wait(100)
        self.assertLess(got[-1].at - began, 5)
        self.assertGreater(len(hanging.requests), 0)
        d.do("stop", 0)
        dead.close()

    def test_bounds(self):
        """Never more than per_host at once to one receiver."""
        r, d = self.receiver(), self.driver(start=False, per_host=3)
        for _ in range(12):
            d.create(self.url(r, "slow/0.2"))
        d.do("start")
        got = r.wait(12)
        busiest = max(sum(q.at <= other.at < q.at + 0.19 for other in got) for q in got)
        self.assertIn(busiest, (2, 3))
        self.assertGreaterEqual(got[-1].at - got[0].at, 0.2 * 3)

    # ---- ends and beginnings ----

    def test_stop_lets_transfers_end(self):
        r, d = self.receiver(), self.driver()
        d.create(self.url(r, "slow/0.5"))
        r.wait(1)
        began = time.monotonic()
        d.do("stop", 5000)
        self.assertLess(time.monotonic() - began, 2)
        self.assertTrue(d.entries()[0]["delivered"])

    def test_stop_ends_in_its_grace(self):
        r, d = self.receiver(), self.driver(timeout_ms=15000)
        d.create(self.url(r, "hang"))
        r.wait(1)
        began = time.monotonic()
        d.do("stop", 300)
        self.assertLess(time.monotonic() - began, 1.5)

    def check_nothing_is_lost(self, stop):
        r, hanging = self.receiver(), self.receiver()
        d = self.driver(timeout_ms=15000)
        tasks = [d.create(self.url(hanging, "hang")) for _ in range(3)]
        tasks += [d.create(self.url(r, "slow/0.05")) for _ in range(30)]
        hanging.wait(2)
        stop(d)
        hanging.close()
        d = self.driver()
        d.wait_entries(30, lambda e: e["delivered"], 30)  # before a lease of 45 s is over
        by_task = {}
        for q in r.requests:
            by_task.setdefault(json.loads(q.body)["task_id"], set()).add(q.id)
        self.assertEqual(set(by_task), set(tasks[3:]))
        self.assertTrue(all(len(ids) == 1 for ids in by_task.values()))
        owed = [e["task"] for e in d.entries() if not e["delivered"] and not e["dead"]]
        self.assertEqual(owed, tasks[:3])

    def test_a_full_disk_is_waited_for(self):
        r, d = self.receiver(), self.driver()
        for _ in range(20):
            d.create(self.url(r, "slow/0.5"))
        r.wait(1)
        limits = resource.prlimit(d.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(d.process.pid, resource.RLIMIT_FSIZE, (os.path.getsize(self.wal()), limits[1]))
        time.sleep(1)
        busy = self.seconds_of(d)
        time.sleep(2)
        self.assertLess(self.seconds_of(d) - busy, 0.5)
        self.assertEqual(d.logged().count("webhooks wait, the store fails"), 1)
        d.do("skip", 120)  # past all leases
        resource.prlimit(d.process.pid, resource.RLIMIT_FSIZE, limits)
        d.wait_entries(20, lambda e: e["delivered"] and e["tries"] == 1, 30)
        self.assertEqual(len(r.requests), 20)  # what had been sent is not sent again
        self.assertEqual(d.logged().count("webhooks go on"), 1)

    def wal(self):
        return os.path.join(self.dir, "easel.db-wal")

    def seconds_of(self, driver):
        """Of processor time."""
        fields = Path(f"/proc/{driver.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_restart_loses_nothing(self):
        def stop(driver):
            driver.do("stop", 0)
            self.assertEqual(driver.end(), 0)
            self.assertEqual(self.leased(), 0)
        self.check_nothing_is_lost(stop)

    def leased(self):
        with contextlib.closing(sqlite3.connect(os.path.join(self.dir, "easel.db"))) as database:
            return database.execute("SELECT count(*) FROM outbox WHERE phase = 1 AND next_ms > ?",
                                    (time.time() * 1000,)).fetchone()[0]

    def test_kill_loses_nothing(self):
        self.check_nothing_is_lost(lambda driver: driver.kill())

    def test_log_keeps_secrets(self):
        r, d = self.receiver(), self.driver(backoff=(60,))
        d.create(self.url(r, "status/500?token=hush"), "hushhush-secret")
        d.create(self.url(r, "status/410?token=hush"), "hushhush-secret")
        entry = d.wait_entry(lambda e: e["dead"])
        d.wait_entry(lambda e: e["status"] == 500)
        self.assertNotIn("hush", entry["error"])
        text = d.logged()
        self.assertIn(f"http://127.0.0.1:{r.port} failed, next try in", text)
        self.assertIn(f"http://127.0.0.1:{r.port} is dead after try 1", text)
        self.assertNotIn("hush", text)


if __name__ == "__main__":
    tap.main(__name__)
