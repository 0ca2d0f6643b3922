# SPDX-License-Identifier: MIT
"""Run unittest cases and print TAP, so that Meson counts single tests."""
import sys
import traceback
import unittest


class _TapResult(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.lines = []
        self.failed = []

    def _line(self, ok, test, note=""):
        name = test.id().rsplit(".", 1)[-1].replace("#", " ")
        self.lines.append(ok)
        print(f"{'ok' if ok else 'not ok'} {len(self.lines)} - {name}{note}", flush=True)

    def addSuccess(self, test):
        self._line(True, test)

    def addSkip(self, test, reason):
        self._line(True, test, f" # SKIP {reason}")

    def addFailure(self, test, err):
        self._failed(test)
        self._explain(err)

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        """A test with a failed part gets no addSuccess; addFailure only if more of it failed."""
        if err is None:
            return
        self._failed(test)
        print(f"# {subtest.id()}")
        self._explain(err)

    def _failed(self, test):
        """One line for a test, however much of it failed."""
        if test not in self.failed:
            self.failed.append(test)
            self._line(False, test)

    @staticmethod
    def _explain(err):
        for line in "".join(traceback.format_exception(*err)).splitlines():
            print(f"# {line}")


def main(module):
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[module])
    result = _TapResult()
    print(f"1..{suite.countTestCases()}", flush=True)
    suite.run(result)
    sys.exit(0 if all(result.lines) and result.lines else 1)
