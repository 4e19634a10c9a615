"""``sartor`` on the tiny bases, in a process of its own. ``SARTOR_TEST_DIE_AT=step:nth`` kills it there."""

import os
import signal
import sys
from pathlib import Path
from types import MappingProxyType

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_base
import tiny_language
from sartor import journal, settings
from sartor.assets import catalogue
from sartor.registry import disk

assert {"SARTOR_CACHE", "SARTOR_HOME"} <= os.environ.keys()
catalogue._BASES = MappingProxyType(tiny_base.specs(settings.current().cache))
catalogue._LANGUAGE_MODELS = MappingProxyType(tiny_language.specs(settings.current().cache))

if dies := os.environ.get("SARTOR_TEST_DIE_AT"):
    wanted, nth = dies.rsplit(":", 1)
    passed = 0

    def step(name: str) -> None:
        global passed
        passed += name == wanted or wanted == "any"
        if passed == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)

    journal.step = disk.step = step

if __name__ == "__main__":
    from sartor.cli import main

    main()
