#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Install the packages of real clients, build and test twice, release and sanitized, and print the
sum of all tests.

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

ROOT = Path(__file__).resolve().parent.parent

# directory, compiler, Meson options, seconds factor for a test's time limit
BUILDS = [
    ("build", None, ["-Dtests=enabled", "-Dwerror=true"], 1),
    ("build-sanitize", "clang",
     ["-Dtests=enabled", "-Dwerror=true", "-Dbuildtype=debugoptimized", "-Db_sanitize=address,undefined",
      "-Db_lundef=false", "-Dfuzz=true"], 6),
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


def build(name, compiler, options):
    environment = dict(os.environ)
    if compiler:
        environment["CC"] = compiler
    if (ROOT / name / "build.ninja").exists():
        run_quietly(["meson", "configure", name, *options])
    else:
        run_quietly(["meson", "setup", name, *options], env=environment)
    run_quietly(["ninja", "-C", name])


def print_skips(name):
    """What was skipped and why, which Meson's report leaves out."""
    with open(ROOT / name / "meson-logs" / "testlog.json") as log:
        for test in map(json.loads, log):
            for what, why in re.findall(r"^ok \d+ -? ?(.*?) *# SKIP *(.*)$", test.get("stdout", ""), re.M):
                print(f"skipped: {test['name']}: {what}: {why}")


def run_suite(name, factor):
    """Returns (passed, failed, skipped)."""
    environment = dict(os.environ)
    environment.setdefault("ASAN_OPTIONS", "detect_leaks=1:allocator_may_return_null=1")
    environment.setdefault("UBSAN_OPTIONS", "halt_on_error=1:print_stacktrace=1")
    done = subprocess.run(
        ["meson", "test", "-C", name, "--no-rebuild", "--print-errorlogs", "-t", str(factor)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace")
    passed = failed = skipped = 0
    report = ROOT / name / "meson-logs" / "testlog.junit.xml"
    for suite in ET.parse(report).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
            elif case.find("skipped") is not None:
                skipped += 1
            else:
                passed += 1
    print_skips(name)
    if done.returncode:
        print(done.stdout)
        failed = max(failed, 1)
    elif passed == 0:
        sys.exit(f"{name}: no test ran")
    return passed, failed, skipped


def main():
    total = [0, 0, 0]
    clients = f"-Dclients_python={clients_python()}"
    for name, compiler, options, factor in BUILDS:
        started = time.monotonic()
        build(name, compiler, [*options, clients])
        built = time.monotonic()
        counts = run_suite(name, factor)
        print(f"{name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped "
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
