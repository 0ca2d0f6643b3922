#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of the worker and of the server at random moments under load.

Every task that was acknowledged must end COMPLETED or FAILED with its reason, every webhook owed must arrive, none under
two ids, in order per task, and no file may be left that no task holds.
"""
import collections
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from load import SEED, FaultTest, House  # noqa: E402

ROUNDS = int(os.environ.get("EASEL_FAULT_ROUNDS", "50"))


class Kills(FaultTest):
    def test_kills_lose_nothing(self):
        receiver = self.receive(failing=0.1)
        house = House(self, "--stub")
        with self.telling(house):
            loads, chance = self.load(house, receiver), random.Random(SEED)
            for _ in range(ROUNDS):
                time.sleep(chance.uniform(0.05, 0.5))
                if chance.random() < 0.5:
                    house.kill_workers()
                else:
                    house.kill_and_restart()
            acknowledged = self.end(loads)
            self.assertGreater(len(acknowledged), ROUNDS)
            self.assertEqual({s for load in loads for s in load.refused} - {500, 503}, set())
            final = self.wait_for_all(house, acknowledged)
            for task, (status, error) in final.items():
                self.assertTrue(status == "COMPLETED" or error, f"{task} failed without a reason")
            self.check_webhooks(receiver, final)
            print(f"# {len(acknowledged)} acknowledged, {collections.Counter(s for s, _ in final.values())}, "
                  f"{len(receiver.so_far())} webhooks", flush=True)
            self.assertEqual(house.server.stop(), 0)
            house.start()  # what a kill left half done is cleared away at the start
            self.assertEqual(house.server.stop(), 0)
            self.check_files()


if __name__ == "__main__":
    tap.main(__name__)
