# SPDX-License-Identifier: MIT
"""The test's end of faults_shim.c: sets the wall clock of a server and its workers, and fills their disk."""
import mmap
import os
import struct
import time
from pathlib import Path

GROWTH, WRITES, SYNCS = 1, 2, 4  # REFUSE_…
CLOCK_AT, REFUSE_AT, PROCESSES_AT, REFUSED_AT, SIZE = 0, 8, 12, 16, 24
HOUR_S = 3600


class Faults:
    """For one data folder; `env` goes into the environment of what shall suffer them."""

    def __init__(self, directory, data):
        control = Path(directory) / "faults"
        control.write_bytes(bytes(SIZE))
        with open(control, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), SIZE)
        self.env = {"LD_PRELOAD": os.environ["EASEL_FAULTS_SHIM"], "FAULTS_CONTROL": str(control),
                    "FAULTS_ROOT": str(Path(data).resolve())}

    def _read(self, at):
        return struct.unpack_from("=I", self.map, at)[0]

    @property
    def n_processes(self):
        return self._read(PROCESSES_AT)

    @property
    def n_refused(self):
        return self._read(REFUSED_AT)

    def refuse(self, what):
        struct.pack_into("=I", self.map, REFUSE_AT, what)

    def set_clock(self, hours):
        """So far from the true time, until it is set again."""
        self.clock_s = hours * HOUR_S
        struct.pack_into("=q", self.map, CLOCK_AT, self.clock_s * 10**9)

    clock_s = 0

    def now_s(self):
        """As the server sees it."""
        return time.time() + self.clock_s
