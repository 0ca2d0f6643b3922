#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Install the packages of real clients, build and test three times (release, address and undefined
behaviour sanitizers, thread sanitizer) and print the sum of all tests.

Quiet when all is well; what fails is shown with its output. The last line is
"N passed, N failed" (and ", N skipped"), counted over single tests.
"""
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

SANITIZED = ["-Dtests=enabled", "-Dwerror=true", "-Dbuildtype=debugoptimized", "-Db_lundef=false"]


class Build(NamedTuple):
    name: str  # its directory
    options: list  # of Meson
    compiler: str = ""
    slowness: int = 4  # factor of each test's time limit, which is for a quiet machine
    selection: list = []  # of Meson's test command; all if empty


BUILDS = [
    Build("build", ["-Dtests=enabled", "-Dwerror=true"]),
    Build("build-sanitize", [*SANITIZED, "-Db_sanitize=address,undefined", "-Dfuzz=true"], "clang", 12),
    # what runs in several threads; the browser's tests wait too long for pictures
    Build("build-threads", [*SANITIZED, "-Db_sanitize=thread"], "clang", 12,
          [f"--suite={name}" for name in ("kernels", "pipeline", "lib", "store", "blobs", "http", "webhooks",
                                          "worker", "api", "service", "e2e")] + ["--no-suite=browser"]),
]


def run_quietly(command, **kwargs):
    """Run; on failure print all of its output and end."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", **kwargs)
    if done.returncode:
        print(done.stdout)
        sys.exit(f"{' '.join(command)}: failed")
    return done.stdout


def clients_python():
    """A Python with the real clients' packages, made once and again when the list changes."""
    folder = ROOT / "build-clients"
    wanted = (ROOT / "tests" / "e2e" / "requirements.txt").read_text()
    stamp = folder / "installed.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        run_quietly([sys.executable, "-m", "venv", "--clear", str(folder)])
        run_quietly([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet",
                     "--disable-pip-version-check", "-r", "tests/e2e/requirements.txt"])
        stamp.write_text(wanted)
    return folder / "bin" / "python"


def build(b, options):
    environment = dict(os.environ)
    if b.compiler:
        environment["CC"] = b.compiler
    if (ROOT / b.name / "build.ninja").exists():
        run_quietly(["meson", "configure", b.name, *options])
    else:
        run_quietly(["meson", "setup", b.name, *options], env=environment)
    run_quietly(["ninja", "-C", b.name])


def print_skips(logs):
    """What was skipped and why, which Meson's report leaves out."""
    with open(logs / "testlog.json") as log:
        for test in map(json.loads, log):
            for what, why in re.findall(r"^ok \d+ -? ?(.*?) *# SKIP *(.*)$", test.get("stdout", ""), re.M):
                print(f"skipped: {test['name']}: {what}: {why}")


def sanitizer_environment(logs):
    """Sanitizers report into files: a test may not see what a child of its program says."""
    environment = dict(os.environ)
    for name, options in (("ASAN", "detect_leaks=1:allocator_may_return_null=1"),
                          ("UBSAN", "halt_on_error=1:print_stacktrace=1"),
                          ("TSAN", "halt_on_error=1:second_deadlock_stack=1")):
        environment.setdefault(f"{name}_OPTIONS", f"{options}:log_path={logs / 'sanitizer'}")
    return environment


def print_sanitizer_reports(logs):
    """Returns how many there are."""
    found = 0
    for path in sorted(logs.glob("sanitizer.*")):
        text = path.read_text(errors="replace")
        if re.search(r"ERROR: |WARNING: ThreadSanitizer|runtime error: ", text):
            print(f"{path.name}:\n{text}")
            found += 1
    return found


def run_suites(b):
    """Returns [passed, failed, skipped]."""
    logs = ROOT / b.name / "meson-logs"
    for old in logs.glob("sanitizer.*"):
        old.unlink()
    done = subprocess.run(
        ["meson", "test", "-C", b.name, "--no-rebuild", "--print-errorlogs", "-t", str(b.slowness),
         "--num-processes", str(2 * os.cpu_count()), *b.selection],  # many of them wait most of the time
        cwd=ROOT, env=sanitizer_environment(logs), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace")
    passed = failed = skipped = 0
    # Meson passes on what tests print, control characters too, which XML may not hold
    report = (logs / "testlog.junit.xml").read_text(errors="replace")
    report = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", report)
    for suite in ET.fromstring(report).iter("testsuite"):
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    print_skips(logs)
    failed += print_sanitizer_reports(logs)
    if done.returncode:
        print(done.stdout)
        failed = max(failed, 1)
    elif passed == 0:
        sys.exit(f"{b.name}: no test ran")
    return [passed, failed, skipped]


def main():
    total = [0, 0, 0]
    clients = f"-Dclients_python={clients_python()}"
    for b in BUILDS:
        started = time.monotonic()
        build(b, [*b.options, clients])
        built = time.monotonic()
        counts = run_suites(b)
        print(f"{b.name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped "
              f"(built in {built - started:.0f} s, tested in {time.monotonic() - built:.0f} s)",
              flush=True)
        total = [a + b for a, b in zip(total, counts)]
    line = f"{total[0]} passed, {total[1]} failed"
    if total[2]:
        line += f", {total[2]} skipped"
    print(line)
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
