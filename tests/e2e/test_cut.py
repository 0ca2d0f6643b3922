#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A file of the store that is cut short: while no server runs, under a running one, and in the midst of its log."""
import os
import re
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from load import FaultTest, House  # noqa: E402
from running import PRO, wait_for  # noqa: E402

N_TASKS = 40
PROMPT = "x" * 3000  # so that they take many pages


class Cut(FaultTest):
    def setUp(self):
        super().setUp()
        self.database, self.log = self.data / "easel.db", self.data / "easel.db-wal"

    def fill(self, house, n=N_TASKS):
        """The ids of tasks that are completed."""
        tasks = [self.submit(house) for _ in range(n)]
        self.assertEqual({s for s, _ in self.wait_for_all(house, tasks).values()}, {"COMPLETED"})
        return tasks

    def submit(self, house):
        status, answer = house.request("POST", PRO, {"prompt": PROMPT, "width": 256, "height": 256})
        self.assertEqual(status, 200, answer)
        return answer["task_id"]

    def fold(self):
        """The log into the database."""
        database = sqlite3.connect(self.database)
        self.assertEqual(database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], 0)
        database.close()

    def contents(self):
        return {p.name: p.read_bytes() for p in (self.database, self.log) if p.exists() and p.stat().st_size}

    def check_refused(self):
        """In one line, and nothing is touched."""
        before = self.contents()
        done = self.easel("serve", "--stub", "--listen", "127.0.0.1:0")
        self.assertFails(done, 1, str(self.database), "cut short", "restore a backup")
        self.assertEqual(self.contents(), before)


class Stopped(Cut):
    def check(self, end):
        house = House(self, "--stub")
        self.fill(house, N_TASKS - 2)
        self.fold()  # so that the log does not hold all that will be missing
        self.fill(house, 2)
        end(house.server)
        whole, pictures = self.database.read_bytes(), self.pictures()
        for size in (0, 50, 4096, len(whole) // 2 // 4096 * 4096, len(whole) // 2 + 100):
            with self.subTest(size=size):
                self.database.write_bytes(whole[:size])
                self.check_refused()
                self.assertEqual(self.pictures(), pictures)
        self.database.write_bytes(whole)
        house.start()
        self.assertEqual(len(house.request("GET", f"{PRO}?page_size=100")[1]["data"]), N_TASKS)

    def pictures(self):
        return sorted(p.name for p in (self.data / "blobs").rglob("*") if p.is_file())

    def test_after_a_stop(self):
        self.check(lambda server: self.assertEqual(server.stop(), 0))

    def test_after_a_kill(self):
        self.check(lambda server: server.kill())


class Running(Cut):
    def check(self, cut):
        house = House(self, "--stub", "--grace", 2)
        with self.telling(house):
            tasks = self.fill(house)
            cut(house)
            for _ in range(3):
                self.check_answers(house, tasks)
            wait_for("it is said", lambda: house.status("/readyz") == 503)
            self.check_answers(house, tasks)
            self.assertEqual(house.status("/readyz"), 503)
            self.assertEqual(house.status("/healthz"), 200)
            self.assertRegex(house.server.log(), r"easel\.db .*cut short.*restore a backup")
            self.assertLess(len(re.findall(r"worker \d+ .* ended", house.server.log())), 3)
            self.assertEqual(house.server.stop(), 0)
        return house, tasks

    def check_answers(self, house, tasks):
        """The truth, or that there is trouble."""
        for task in tasks:
            status, answer = house.request("GET", f"{PRO}/{task}")
            self.assertIn(status, (200, 500), answer)
            if status == 200:
                self.assertEqual(answer["data"]["status"], "COMPLETED")
        self.assertIn(house.request("POST", PRO, {"prompt": PROMPT, "width": 256, "height": 256})[0], (200, 500))

    def cut_half(self, path):
        os.truncate(path, path.stat().st_size // 2)

    def test_the_database(self):
        def cut(house):
            self.fold()
            self.cut_half(self.database)
        self.check(cut)
        self.check_refused()

    def test_the_database_beside_its_log(self):
        self.check(lambda _: self.cut_half(self.database))
        self.check_refused()

    def test_the_log(self):
        """What the database holds is sound, and is there when the server is started again."""
        def cut(house):
            self.fold()
            self.fill(house, 5)
            self.cut_half(self.log)
        house, tasks = self.check(cut)
        house.start()
        self.assertEqual({s for s, _ in self.wait_for_all(house, tasks).values()}, {"COMPLETED"})
        self.assertEqual(house.server.stop(), 0)
        self.check_files()


class Torn(Cut):
    def test_what_was_acknowledged_before_the_tear_is_there(self):
        house = House(self, "--stub", "--workers", 0)
        before = [self.submit(house) for _ in range(N_TASKS)]
        kept = self.log.stat().st_size
        after = [self.submit(house) for _ in range(N_TASKS)]
        house.server.kill()
        self.assertGreater(self.log.stat().st_size, kept + 5000)
        for size in (self.log.stat().st_size - 1, kept + 4196, kept):
            os.truncate(self.log, size)
            house.start()
            known = {task for task in before + after if house.status(f"{PRO}/{task}") == 200}
            self.assertLessEqual(set(before), known)
            house.server.kill()
        house.flags = (*house.flags[:-2], "--workers", 1)
        house.start()
        self.assertEqual({s for s, _ in self.wait_for_all(house, before).values()}, {"COMPLETED"})
        self.assertEqual(house.server.stop(), 0)
        self.check_files()


if __name__ == "__main__":
    tap.main(__name__)
