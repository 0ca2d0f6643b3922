#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What becomes of tasks when processes end, in whatever way, and when the disk is full."""
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from running import PRO, ServiceTest, wait_for  # noqa: E402

SHORT = 4     # steps of the tiny model: a second or so
LONG = 1000   # longer than any test waits


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Stopping(ServiceTest):
    def test_the_running_picture_is_finished_within_grace(self):
        server = self.serve("--model", self.slow_model(SHORT), "--grace", 150)
        running, queued = server.submit(), server.submit()
        server.wait_for_status(running, "IN_PROGRESS", "COMPLETED")
        self.assertEqual(server.stop(seconds=180), 0)
        self.assertIn("stopping", server.log())
        states = self.states()
        self.assertEqual(states[running], "COMPLETED")
        self.assertIn(states[queued], ("CREATED", "COMPLETED"))  # never half done

    def states(self):
        rows = self.easel("task", "list").stdout.splitlines()[1:]
        return {r.split()[0]: r.split()[1] for r in rows}

    def test_after_grace_it_is_handed_back_and_nothing_is_lost(self):
        server = self.serve("--model", self.slow_model(LONG), "--grace", 0)
        running, queued = server.submit(), server.submit()
        server.wait_for_status(running, "IN_PROGRESS")
        self.assertEqual(server.stop(), 0)
        self.assertEqual(self.states(), {running: "CREATED", queued: "CREATED"})
        again = self.serve("--stub")
        for task in (running, queued):
            again.wait_for_status(task, "COMPLETED", key=server.key)
        shown = self.easel("task", "show", running).stdout
        self.assertRegex(shown, r"attempts +1 of 3")  # the stop cost it none
        self.assertEqual(again.stop(signal.SIGINT), 0)

    def test_a_worker_that_does_not_end_costs_no_attempt(self):
        server = self.serve("--model", self.slow_model(LONG), "--grace", 0)
        task = server.submit()
        server.wait_for_status(task, "IN_PROGRESS")
        os.kill(server.wait_for_worker(), signal.SIGSTOP)
        self.assertEqual(server.stop(), 0)
        self.assertIn("does not end", server.log())
        again = self.serve("--stub")
        again.wait_for_status(task, "COMPLETED", key=server.key)
        self.assertRegex(self.easel("task", "show", task).stdout, r"attempts +1 of 3")
        self.assertEqual(again.stop(), 0)

    def test_a_second_signal_ends_at_once(self):
        server = self.serve("--model", self.slow_model(LONG), "--grace", 600)
        task = server.submit()
        server.wait_for_status(task, "IN_PROGRESS")
        worker = server.wait_for_worker()
        server.process.send_signal(signal.SIGINT)
        wait_for("it stops", lambda: "stopping" in server.log())
        server.process.send_signal(signal.SIGINT)  # too soon to be a second one
        os.kill(worker, signal.SIGTERM)  # nor does a signal to the group cut the grace short
        time.sleep(1)
        self.assertTrue(is_running(worker))
        self.assertIsNone(server.process.poll())
        self.assertEqual(server.stop(signal.SIGINT, seconds=10), 130)
        wait_for("the worker is gone", lambda: not is_running(worker), 10)
        again = self.serve("--stub")
        again.wait_for_status(task, "COMPLETED", key=server.key)
        self.assertEqual(again.stop(), 0)

    def test_new_requests_are_refused_while_stopping(self):
        server = self.serve("--model", self.slow_model(LONG), "--grace", 600)
        server.wait_for_status(server.submit(), "IN_PROGRESS")
        server.process.terminate()
        wait_for("it stops", lambda: "stopping" in server.log())

        def refused():
            try:
                return server.request("POST", PRO, {"prompt": "a"})[0] == 503
            except OSError:
                return True
        wait_for("requests are refused", refused, 10)
        server.process.kill()


class Killing(ServiceTest):
    def test_a_killed_worker_is_replaced_and_its_task_drawn_again(self):
        server = self.serve("--model", self.slow_model(LONG))
        task = server.submit()
        server.wait_for_status(task, "IN_PROGRESS")
        worker = server.wait_for_worker()
        started = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        server.wait_for_worker(other_than=worker)
        wait_for("the second attempt", lambda: re.search(
            r"IN_PROGRESS[\s\S]*attempts +2 of 3", self.easel("task", "show", task).stdout))
        self.assertLess(time.monotonic() - started, 14)  # no lease was waited for
        self.assertRegex(server.log(), rf"process {worker}\) ended: killed by signal 9")
        self.assertEqual(server.request("DELETE", f"{PRO}/{task}")[0], 200)
        self.assertIn("cancelled", server.wait_for_status(task, "FAILED")["error"])
        self.assertEqual(server.stop(), 0)

    def test_the_third_loss_is_a_failure_with_its_reason(self):
        server = self.serve("--model", self.slow_model(LONG))
        task = server.submit()
        worker = None
        for _ in range(3):
            worker = server.wait_for_worker(other_than=worker)
            server.wait_for_status(task, "IN_PROGRESS")
            os.kill(worker, signal.SIGKILL)
            wait_for("its death is seen", lambda: worker not in server.worker_pids())
        failed = server.wait_for_status(task, "FAILED")
        self.assertIn("worker", failed["error"])
        server.wait_for_worker(other_than=worker)  # and the next task finds one
        self.assertEqual(server.request("GET", "/readyz")[0], 200)
        self.assertEqual(server.stop(), 0)

    def test_a_killed_server_takes_its_worker_along_and_the_next_goes_on(self):
        server = self.serve("--model", self.slow_model(LONG))
        tasks = [server.submit() for _ in range(3)]
        server.wait_for_status(tasks[0], "IN_PROGRESS")
        worker = server.wait_for_worker()
        server.kill()
        wait_for("the worker is gone", lambda: not is_running(worker), 10)
        started = time.monotonic()
        again = self.serve("--stub")
        for task in tasks:
            again.wait_for_status(task, "COMPLETED", key=server.key)
        self.assertLess(time.monotonic() - started, 10)  # no lease was waited for
        self.assertEqual(again.stop(), 0)

    def test_what_a_crash_left_is_deleted(self):
        server = self.serve("--stub")
        kept = server.wait_for_status(server.submit(), "COMPLETED")
        server.kill()
        blobs = [p for p in (self.data / "blobs").rglob("*") if p.is_file()]
        self.assertEqual(len(blobs), 1)
        orphan = blobs[0].parent.parent / "00" / ("0" * 32 + ".png")
        orphan.parent.mkdir(exist_ok=True)
        orphan.write_bytes(b"nobody's")
        again = self.serve("--stub")
        self.assertFalse(orphan.exists())
        self.assertTrue(blobs[0].exists())
        self.assertEqual(again.task(kept["task_id"], server.key)["status"], "COMPLETED")
        self.assertEqual(again.stop(), 0)


class Surroundings(ServiceTest):
    def test_hangup_reopens_the_logs(self):
        log, access = self.dir / "easel.log", self.dir / "access.log"
        server = self.serve("--stub", "--log", log, "--access-log", access)
        server.submit()
        self.assertEqual(server.err, [])
        for path in (log, access):
            path.rename(path.with_suffix(".1"))
        server.process.send_signal(signal.SIGHUP)
        wait_for("the logs are opened anew", lambda: log.exists() and access.exists())
        wait_for("it is said there", lambda: "logs reopened" in log.read_text())
        server.submit()
        wait_for("the request is there", lambda: PRO in access.read_text())
        self.assertEqual(server.stop(), 0)
        for line in log.read_text().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning|error) +\S")

    def test_expired_pictures_are_swept(self):
        server = self.serve("--stub", "--result-hours", 2 / 3600)
        server.wait_for_status(server.submit(), "COMPLETED")
        blobs = self.data / "blobs"
        wait_for("the picture is swept", lambda: not [p for p in blobs.rglob("*") if p.is_file()])
        self.assertEqual(server.stop(), 0)

    def mount_small(self, size):
        if os.geteuid() != 0:
            self.skipTest("only root can mount a small disk")
        self.data.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.data],
                              capture_output=True, text=True)
        if done.returncode:
            self.skipTest(f"no small disk can be mounted here: {done.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.data])

    def fill(self):
        filler = self.data / "filler"
        with open(filler, "wb", buffering=0) as out:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        out.write(b"\0" * size)
                except OSError:
                    pass
        return filler

    def test_full_disk(self):
        self.mount_small("6m")
        server = self.serve("--stub")
        self.assertEqual(self.easel("key", "limit", "default", "--rate", "unlimited").returncode, 0)
        server.wait_for_status(server.submit(), "COMPLETED")
        filler = self.fill()
        refused = []
        for _ in range(20):  # what is left in half-used pages may take a few
            status, answer = server.request("POST", PRO, {"prompt": "a cat", "width": 256,
                                                          "height": 256})
            if status != 200:
                refused.append((status, answer))
        self.assertTrue(refused)
        for status, answer in refused:
            self.assertGreaterEqual(status, 500, answer)
            self.assertIn("message", answer)
        self.assertEqual(server.request("GET", "/healthz")[0], 200)
        filler.unlink()
        task = wait_for("it takes tasks again", lambda: self.try_to_submit(server))
        server.wait_for_status(task, "COMPLETED")
        self.assertEqual(server.stop(), 0)

    def try_to_submit(self, server):
        status, answer = server.request("POST", PRO, {"prompt": "a", "width": 256, "height": 256})
        return answer["task_id"] if status == 200 else None

    def test_full_disk_at_the_first_start(self):
        self.mount_small("64k")
        self.fill()
        done = self.easel("serve", "--stub", "--listen", "127.0.0.1:0")
        self.assertFails(done, 1, str(self.data))


if __name__ == "__main__":
    tap.main(__name__)
