"""Runs the interoperability suites of eclipse/paho.mqtt.testing, as they are, against `tidewire serve`.

    python tests/interop/paho_suites.py path/to/paho.mqtt.testing [3|5] [case ...]

Prints a line per case and exits with 1 when one fails. Each suite runs in a process of its own, because a case whose
broker does not answer as it hopes may wait for ever: after `CASE_PATIENCE_S` without a result the suite is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import logging
import subprocess
import sys
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any, Final

SUITES: Final = {"3": "client_test", "5": "client_test5"}
CASE_PATIENCE_S: Final = 120.0
CONFIG: Final = Path(__file__).with_name("paho.toml")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the Paho interoperability suites against Tidewire.")
    parser.add_argument("checkout", type=Path, help="a checkout of eclipse/paho.mqtt.testing: make paho SUITE=…")
    parser.add_argument("version", nargs="?", choices=SUITES, help="3: 3.1.1 only; 5: 5.0 only")
    parser.add_argument("cases", nargs="*", default=[], help="some cases only, by their names")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)  # in the process of a suite: where the broker is
    options = parser.parse_args()
    folder = options.checkout / "interoperability"
    if not (folder / "client_test5.py").exists():
        parser.error(f"{options.checkout} is no checkout of https://github.com/eclipse/paho.mqtt.testing")
    if options.port:
        return run_suite(folder, SUITES[options.version], options.port, options.cases)
    failed = 0
    for version in [options.version] if options.version else SUITES:
        with broker() as port:
            failed += watch_suite([str(options.checkout), version, *options.cases, "--port", str(port)])
    return 1 if failed else 0


@contextlib.contextmanager
def broker() -> Iterator[int]:
    """A broker as the suites presume it; its port."""
    command = [sys.executable, "-m", "tidewire", "serve", "--bind", "127.0.0.1", "--port", "0", "--config", str(CONFIG)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            ready = process.stderr.readline()
            print(ready, end="", flush=True)
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield int(ready.rpartition(":")[2])
        finally:
            process.kill()


def watch_suite(arguments: list[str]) -> int:
    """Run one suite in a process; 1 if a case fails, or none ends for too long."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        patience = threading.Timer(CASE_PATIENCE_S, process.kill)
        patience.start()
        for line in process.stdout:
            patience.cancel()
            print(line, end="", flush=True)
            patience = threading.Timer(CASE_PATIENCE_S, process.kill)
            patience.start()
        status = process.wait()
        patience.cancel()
    if status < 0:
        print(f"FAILED  the case after that did not end in {CASE_PATIENCE_S:.0f} s", flush=True)
    return 1 if status else 0


def run_suite(folder: Path, name: str, port: int, cases: list[str]) -> int:
    """Run the cases of one suite here. What it sets up when it is the main program is set up for it."""
    sys.path.insert(0, str(folder))
    logging.getLogger().setLevel(logging.CRITICAL)
    suite: Any = importlib.import_module(name)
    prefix = "client_test5/" if name == "client_test5" else ""
    suite.host, suite.port, suite.topic_prefix = "127.0.0.1", port, prefix
    suite.topics = [prefix + topic for topic in ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")]
    suite.wildtopics = [prefix + topic for topic in ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")]
    suite.nosubscribe_topics = ("test/nosubscribe",)
    names = unittest.defaultTestLoader.getTestCaseNames(suite.Test)
    if hasattr(suite.Test, "will_message_test"):
        names.append("will_message_test")  # a case that unittest does not find by its name
    result = OneLineEach()
    unittest.TestSuite(suite.Test(case) for case in cases or names).run(result)
    result.say(f"{name}: {result.testsRun} cases, {len(result.failures) + len(result.errors)} failed")
    return 0 if result.wasSuccessful() and result.testsRun else 1


class OneLineEach(unittest.TestResult):
    """Says how each case went; what the case itself prints is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._out = sys.stdout
        self._began = monotonic()
        self._chatter = contextlib.redirect_stdout(io.StringIO())
        self._chatter.__enter__()

    def say(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    def startTest(self, test: unittest.TestCase) -> None:
        self._began = monotonic()
        super().startTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._told("ok", test)

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._told("FAILED", test, err)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._told("FAILED", test, err)

    def _told(self, how: str, test: unittest.TestCase, err: Any = None) -> None:
        why = f"  {err[0].__name__}: {str(err[1]).splitlines()[:1]}" if err else ""
        name = getattr(test, "_testMethodName", str(test))
        self.say(f"{how:7} {name} ({monotonic() - self._began:.1f} s){why}")


if __name__ == "__main__":
    sys.exit(main())
