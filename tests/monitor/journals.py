"""Stores with a champion, and journals of what it was asked: synthetic requests to a bundle of no weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from sartor import journal
from sartor.journal import AnswerRow, EventRow, FeedbackRow, Journal
from sartor.registry.store import Store
from sartor.types import BaseRef, Column, DataRef, Label, Manifest, Requirement

LABELS = ("billing", "bug", "other")
COLUMNS = (Column("price", "number"), Column("colour", "category", ("red", "blue")))


def manifest(name, *, columns=(), number=0):
    labels = tuple(Label(label) for label in LABELS)
    need = Requirement("text-classification", name, "", labels, "en", "none", 64, columns=columns)
    return Manifest(
        format=1,
        id="",
        family="text-classification",
        name=name,
        created="2026-01-01T00:00:00Z",
        requirement=need,
        base=BaseRef("none", "", ""),
        generator="none/1",
        head="ridge",
        data=DataRef("", 0),
        seed=number,
        n_parameters=1,
        shapes={"w": (1,)},
        files={},
    )


@dataclass
class Stage:
    """A store whose model is asked."""

    home: Path
    name: str = "mails"
    clock: float = 1_000.0
    columns: tuple[Column, ...] = ()

    def put(self, number=0, *, champion=True, weight=1.0):
        """Store a version; point the alias at it."""
        store = Store(self.home)
        files = {"model.safetensors": save({"w": torch.tensor([weight])}), "report.json": b"{}", "README.md": b"x"}
        entry = store.put(manifest(self.name, columns=self.columns, number=number), files, self.name)
        if champion:
            before = store.aliases(self.name).get("champion")
            store.move_alias(self.name, "champion", entry.id, expected=before)
        return entry

    def ask(self, rows, entry, rng, *, kept=False, **usual):
        """Let a version answer; return the ids of its answers."""
        made = [self.row(entry, rng, kept=kept, **usual) for _ in range(rows)]
        self.write(*made)
        return [row.answer_id for row in made]

    def row(self, entry, rng, *, kept=False, shift=0.0, confidence=(8, 2), abstain=0.05, text=None, label=None):
        self.clock += 1.0
        return AnswerRow(
            answer_id=f"ans_{self.clock:026.0f}",  # the same in every run
            at=self.clock,
            name=self.name,
            alias="champion",
            version=entry.version,
            model=entry.id,
            family=entry.family,
            source="small",
            confidence=float(rng.beta(*confidence)),
            label=label or str(rng.choice(LABELS)),
            abstain=bool(rng.random() < abstain),
            latency_ms=float(rng.gamma(4, 5)),
            input_chars=int(rng.lognormal(4, 0.5)),
            projection=tuple((rng.standard_normal(32) + shift).tolist()),
            text=(text or f"text {self.clock:.0f}") if kept else None,
        )

    def judge(self, ids, rng, *, wrong=0.1, who="api"):
        """Let people judge answers by thumbs."""
        self.clock += 1.0
        self.write(*(FeedbackRow(one, self.clock, thumbs=-1 if rng.random() < wrong else 1, who=who) for one in ids))

    def fail(self, many, entry):
        """Let requests fail."""
        self.clock += 1.0
        self.write(*(EventRow(self.clock, "error", self.name, {"id": entry.id}) for _ in range(many)))

    def write(self, *rows):
        self.home.mkdir(parents=True, exist_ok=True)
        with Journal(self.home / journal.FILE, mode="fast") as writer:
            writer.append(*rows)

    def events(self, kind):
        return list(journal.Reader(self.home / journal.FILE).events(kind=kind))


def generator(seed):
    return np.random.default_rng(seed)
