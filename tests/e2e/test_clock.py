#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The wall clock jumps by hours, forward and backward, while tasks run and webhooks are owed."""
import base64
import hashlib
import hmac
import http.client
import os
import signal
import sys
import threading
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from load import FINAL, FaultTest, House  # noqa: E402
from running import PRO, wait_for  # noqa: E402
from shim import Faults  # noqa: E402

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes for the webhooks").decode()
AWAY_S = 2.5     # longer than two rounds of the upkeep
NEAR_S = 60      # between a time stamp and its check
STEPS = 1000     # of the tiny model: longer than any test waits


class ClockTest(FaultTest):
    def house(self, *flags):
        self.faults = Faults(self.dir, self.data)
        house = House(self, "--webhook-secret", SECRET, *flags, env=self.faults.env)
        self.assertGreaterEqual(self.faults.n_processes, 2, "the clock of the server and its worker is not ours")
        return house

    def jump(self, *hours):
        """There and there, and stay a while each time; then the true time."""
        for h in (*hours, 0):
            self.faults.set_clock(h)
            time.sleep(AWAY_S)

    def submit(self, house, **fields):
        status, answer = house.request("POST", PRO, {"prompt": "a", "width": 256, "height": 256, **fields})
        self.assertEqual(status, 200, answer)
        return answer["task_id"]

    def wait_for_end(self, house, task):
        return house.server.wait_for_status(task, *FINAL, key=house.key)

    def fetch(self, house, task):
        """Status of the result's URL."""
        url = urllib.parse.urlsplit(house.server.task(task, house.key)["generated"][0])
        return house.status(f"{url.path}?{url.query}")


class Jumps(ClockTest):
    def test_under_load(self):
        house, receiver = self.house("--stub"), self.receive()
        with self.telling(house):
            loads = self.load(house, receiver)
            self.jump(6, -6, 30, -30)
            final = self.wait_for_all(house, self.end(loads))
            self.assertGreater(len(final), 20)
            self.assertEqual({state for state, _ in final.values()}, {"COMPLETED"})
            self.assertEqual(sum((load.refused for load in loads), start=type(loads[0].refused)()), {})
            self.check_webhooks(receiver, final)
            self.assertEqual(house.server.stop(), 0)
            self.check_files()

    def test_leases_do_not_care(self):
        house = self.house("--model", self.slow_model(STEPS))
        with self.telling(house):
            task = self.submit(house)
            house.server.wait_for_status(task, "IN_PROGRESS", key=house.key)
            worker = house.server.wait_for_worker()
            os.kill(worker, signal.SIGSTOP)  # or it would renew its lease after each step
            self.jump(6, -6)
            os.kill(worker, signal.SIGCONT)
            self.assertRegex(self.easel("task", "show", task).stdout, r"IN_PROGRESS[\s\S]*attempts +1 of 3")
            self.assertNotRegex(house.server.log(), r"took \d+ task|handed back|lost|silent")
            self.assertEqual(house.request("DELETE", f"{PRO}/{task}")[0], 200)
            self.assertEqual(self.wait_for_end(house, task)["error"], "cancelled")

    def test_events_go_on(self):
        house, events = self.house("--model", self.slow_model(STEPS)), []
        with self.telling(house):
            task = self.submit(house)
            reader = threading.Thread(target=self.read_events, args=(house, task, events), daemon=True)
            reader.start()
            for hours in (6, -6, 0):
                self.faults.set_clock(hours)
                n = len(events)
                wait_for("events after a jump", lambda: len(events) > n)
            self.assertEqual(house.request("DELETE", f"{PRO}/{task}")[0], 200)
            reader.join(60)
            self.assertEqual((events[0], events[-1]), ("status", "failed"), events)

    def read_events(self, house, task, events):
        connection = http.client.HTTPConnection(house.listen, timeout=60)
        connection.request("GET", f"/v1/tasks/{task}/events", headers={"x-magnific-api-key": house.key})
        for line in connection.getresponse():
            if line.startswith(b"event: "):
                events.append(line[7:].strip().decode())
        connection.close()

    def test_no_key_is_locked_out(self):
        """Nor does a jump fill a bucket: one of a minute a token stays empty, one of two seconds fills as ever."""
        house = self.house("--stub")
        slow, quick = (self.easel("key", "create", f"{rate} a minute", "--rate", rate).stdout.strip() for rate in (1, 30))

        def post(key):
            return house.server.request("POST", PRO, {"prompt": "a", "width": 256, "height": 256}, key)[0]
        with self.telling(house):
            for hours in (6, -6, 0):
                for key in (slow, quick):
                    wait_for("the rate is used up", lambda: post(key) == 429)
                self.faults.set_clock(hours)
                self.assertEqual(post(slow), 429, "a jump filled the bucket")
                wait_for("a token, two seconds later", lambda: post(quick) == 200, 30)


class Results(ClockTest):
    def test_none_is_swept_for_a_jump_back(self):
        house = self.house("--stub")
        with self.telling(house):
            before = self.submit(house)
            self.wait_for_end(house, before)
            self.faults.set_clock(-48)
            within = self.submit(house)
            self.wait_for_end(house, within)
            time.sleep(AWAY_S)
            for task in (before, within):
                self.assertEqual(self.fetch(house, task), 200)
            self.faults.set_clock(-48 - 12)
            time.sleep(AWAY_S)
            for task in (before, within):
                self.assertEqual(self.fetch(house, task), 200)

    def test_they_are_swept_when_their_time_is_over(self):
        house = self.house("--stub")
        with self.telling(house):
            self.faults.set_clock(-6)
            task = self.submit(house)
            self.wait_for_end(house, task)
            self.faults.set_clock(0)
            time.sleep(AWAY_S)
            self.assertEqual(self.fetch(house, task), 200)
            url = house.server.task(task, house.key)["generated"][0]
            self.faults.set_clock(19)  # 25 hours after it was drawn, by its own clock
            wait_for("the file is gone", lambda: not self.pictures())
            self.assertIn(house.status(url[url.index("/v1/"):]), (403, 404, 410))

    def pictures(self):
        return [p for p in (self.data / "blobs").rglob("*") if p.is_file()]


class Webhooks(ClockTest):
    def check_signature(self, d):
        """By Standard Webhooks; and the time is the server's."""
        signed = f"{d.headers['webhook-id']}.{d.headers['webhook-timestamp']}.".encode() + d.body
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        wanted = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        self.assertIn(f"v1,{wanted}", d.headers["webhook-signature"].split())
        self.assertLess(abs(int(d.headers["webhook-timestamp"]) - self.faults.now_s()), NEAR_S)

    def test_signatures_tell_the_time_of_the_server(self):
        house, receiver = self.house("--stub"), self.receive()
        with self.telling(house):
            for hours in (0, 6, -6):
                self.faults.set_clock(hours)
                task = self.submit(house, webhook_url=receiver.url)
                mine = wait_for("its webhooks", lambda: (
                    m := [d for d in receiver.so_far() if d.task == task])[-1:] and m[-1].status in FINAL and m)
                self.assertEqual([d.status for d in mine], ["CREATED", "IN_PROGRESS", "COMPLETED"])
                for d in mine:
                    self.check_signature(d)

    def test_a_retry_planned_before_a_jump_is_made(self):
        """In seconds, not in hours: neither way."""
        for hours_before, hours_after in ((0, 6), (0, -6), (6, 0)):
            with self.subTest(before=hours_before, after=hours_after):
                self.check_retry(hours_before, hours_after)

    def check_retry(self, hours_before, hours_after):
        self.data = self.dir / f"data{hours_before}{hours_after}"
        house, receiver = self.house("--stub"), self.receive()
        with self.telling(house):
            self.faults.set_clock(hours_before)
            receiver.refusing = True
            task = self.submit(house, webhook_url=receiver.url)
            self.wait_for_end(house, task)
            wait_for("a refused try", lambda: "failed, next try in" in house.server.log())
            self.faults.set_clock(hours_after)
            receiver.refusing = False
            wait_for("the end is told", lambda: any(d.status == "COMPLETED" for d in receiver.so_far()), 30)
            for d in receiver.so_far():
                self.check_signature(d)
            self.assertEqual(house.server.stop(), 0)


if __name__ == "__main__":
    tap.main(__name__)
