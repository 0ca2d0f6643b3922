#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run a test program and pass on its TAP, in which cmocka before 1.1.6 spells a skipped test
"not ok N # SKIP name": that is a failure to Meson. It becomes "ok N - name # SKIP reason", where the
reason is the comment before it (skip_because() of test.h)."""
import re
import signal
import subprocess
import sys


def main(command):
    program = subprocess.Popen(command, stdout=subprocess.PIPE)
    reason = b""
    for line in program.stdout:
        skipped = re.match(rb"not ok (\d+) # SKIP (.*)\n", line)
        if skipped:
            line = b"ok %s - %s # SKIP %s\n" % (*skipped.groups(), reason)
        elif line.startswith(b"# "):
            reason = line[2:].strip()
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    status = program.wait()
    if status < 0:  # die as it did
        signal.signal(-status, signal.SIG_DFL)
        signal.raise_signal(-status)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
