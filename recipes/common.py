"""What recipes share: their flags, telling a person how far a run is, and its picture."""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from sartor.pretrain.run import HISTORY, Look, Pace


def parser(about: str, dials: Iterable[str], base: str) -> argparse.ArgumentParser:
    """Return the flags that every recipe has; those of its own are added."""
    made = argparse.ArgumentParser(description=about.partition("\n")[0])
    made.add_argument("--data", type=Path, required=True, help="folder of the public data")
    made.add_argument("--dial", choices=list(dials), default="cpu", help="how much is spent")
    made.add_argument("--base", default=base)
    made.add_argument("--device", default="cpu")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "sartor-pretrain")
    made.add_argument("--out", type=Path, required=True, help="folder of the run")
    return made


class Tasks(Protocol):
    """A task, as far as it is counted."""

    @property
    def group(self) -> str: ...


class Teller:
    """Tells a person how far it is."""

    def __init__(self) -> None:
        self.started = self.told = self.stage_began = time.monotonic()
        self.pace: Pace | None = None
        self.first: int | None = None

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell of texts that are encoded, every ten seconds."""
        if time.monotonic() - self.told > 10 or done == total:
            self.told = time.monotonic()
            print(f"[{self.told - self.started:5.0f} s] {stage}: {done} of {total} texts", flush=True)

    def part(self, title: str, tasks: Sequence[Tasks], rows: int) -> None:
        """Tell what is learned from, or watched."""
        groups = len({task.group for task in tasks})
        print(f"{title}: {len(tasks)} tasks in {groups} groups, {rows} rows", flush=True)

    def stage(self, name: str, pace: Pace) -> None:
        """Tell that a stage begins."""
        self.stage_began, self.pace, self.first = time.monotonic(), pace, None
        print(f"[{self.stage_began - self.started:5.0f} s] stage {name}: {pace.steps} steps", flush=True)

    def look(self, look: Look) -> None:
        """Tell the losses at a step, and how long the stage will take from there."""
        assert self.pace is not None
        now = time.monotonic()
        self.first = look.step - self.pace.every if self.first is None else self.first  # a run may have been cut off
        left = (now - self.stage_began) / (look.step - self.first) * (self.pace.steps - look.step)
        learned, watched = (
            ", ".join(f"{name} {loss:.3f}" for name, loss in losses.items()) for losses in (look.learned, look.watched)
        )
        print(
            f"[{now - self.started:5.0f} s] step {look.step}: {learned}; watched {watched}; {left:.0f} s left",
            flush=True,
        )


def draw(folder: Path, stages: Sequence[str], unit: str) -> None:
    """Draw the losses of each stage, if matplotlib is there."""
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        print("No picture of the run: install sartor[bench] for one.")
        return
    size = (5 * len(stages), 4)
    figure, axes_of = pyplot.subplots(1, len(stages), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for axes, stage in zip(axes_of[0], stages, strict=True):
        history = json.loads((folder / stage / HISTORY).read_text())
        steps = [look["step"] for look in history]
        for kind, alpha in (("learned", 0.4), ("watched", 1.0)):
            for at, name in enumerate(history[-1][kind]):
                losses = [look[kind][name] for look in history]
                axes.plot(steps, losses, color=f"C{at}", alpha=alpha, label=f"{name}, {kind}")
        axes.set(xlabel="step", title=f"stage: {stage}")
        axes.legend()
    axes_of[0][0].set(ylabel=unit)
    figure.savefig(folder / "run.png", dpi=100)
