#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The disk below the data folder takes no more, while tasks come, run and owe webhooks; later there is room again."""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from load import FaultTest, House  # noqa: E402
from running import PRO, wait_for  # noqa: E402
from shim import GROWTH, SYNCS, WRITES, Faults  # noqa: E402

REFUSALS = {503}  # of a request that cannot be stored
FULL_S = 3


class Disk(FaultTest):
    def setUp(self):
        super().setUp()
        self.faults = Faults(self.dir, self.data)

    def check_full(self, what):
        house, receiver = House(self, "--stub", env=self.faults.env), self.receive()
        self.assertGreaterEqual(self.faults.n_processes, 2, "the disk of the server and its worker is not ours")
        with self.telling(house):
            loads = self.load(house, receiver)
            wait_for("some load", lambda: sum(len(load.acknowledged) for load in loads) > 20)
            self.assertEqual(house.status("/readyz"), 200)
            self.faults.refuse(what)
            self.check_while_full(house, loads)
            self.faults.refuse(0)
            wait_for("it is ready again", lambda: house.status("/readyz") == 200)
            n = sum(len(load.acknowledged) for load in loads)
            wait_for("tasks are taken again", lambda: sum(len(load.acknowledged) for load in loads) > n + 10)
            self.check_in_the_end(house, loads, receiver)

    def check_while_full(self, house, loads):
        wait_for("requests are refused", lambda: any(load.refused for load in loads))
        wait_for("it is said", lambda: house.status("/readyz") == 503)
        time.sleep(FULL_S)
        self.assertEqual(house.status("/healthz"), 200)
        self.assertEqual(house.status(f"{PRO}/{loads[0].acknowledged[0]}"), 200)  # reading goes on
        self.assertEqual(house.status("/readyz"), 503)
        self.assertGreater(self.faults.n_refused, 0)

    def check_in_the_end(self, house, loads, receiver):
        final = self.wait_for_all(house, self.end(loads))
        self.assertEqual({state for state, _ in final.values()}, {"COMPLETED"})
        for load in loads:
            self.assertLessEqual(set(load.refused), REFUSALS)
        self.check_webhooks(receiver, final)
        self.assertEqual(house.server.stop(), 0)
        house.start()
        self.assertEqual(house.server.stop(), 0)
        self.check_files()

    def test_full(self):
        """What is there may be written over, as on most file systems."""
        self.check_full(GROWTH)

    def test_full_for_all_writes(self):
        """Copy on write, or a disk that is promised and not there."""
        self.check_full(GROWTH | WRITES)

    def test_found_full_when_syncing(self):
        self.check_full(SYNCS)

    def test_a_kill_while_full(self):
        house, receiver = House(self, "--stub", env=self.faults.env), self.receive()
        with self.telling(house):
            loads = self.load(house, receiver)
            wait_for("some load", lambda: sum(len(load.acknowledged) for load in loads) > 20)
            self.faults.refuse(GROWTH)
            wait_for("requests are refused", lambda: any(load.refused for load in loads))
            house.server.kill()
            self.faults.refuse(0)
            house.start()
            self.check_in_the_end(house, loads, receiver)


if __name__ == "__main__":
    tap.main(__name__)
