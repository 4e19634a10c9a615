"""Small real bundles for the tests of the registry."""

import numpy as np
from safetensors.numpy import save

from sartor.types import BaseRef, DataRef, Label, Manifest, Requirement

LABELS = (Label("good", "it pleased", 3), Label("悪い", "", 2))


def weights(seed: int = 0, n: int = 6) -> bytes:
    rng = np.random.default_rng(seed)
    return save({"head.weight": rng.random((2, n), dtype=np.float32), "scale": np.array(rng.random(), np.float32)})


def files(seed: int = 0, n: int = 6) -> dict[str, bytes]:
    return {"model.safetensors": weights(seed, n), "report.json": b'{"schema": 1}', "README.md": b"# A model\n"}


def draft(seed: int = 0, n: int = 6, labels: tuple[Label, ...] = LABELS) -> Manifest:
    requirement = Requirement(
        family="text-classification",
        name="reviews",
        description="Is this review good?",
        labels=labels,
        language="en",
        base="tiny",
        max_tokens=128,
    )
    return Manifest(
        format=1,
        id="",
        family="text-classification",
        name="reviews",
        created="2026-01-02T03:04:05+00:00",
        requirement=requirement,
        base=BaseRef("tiny", "ab" * 32, "MIT"),
        generator="floor/1",
        head="ridge",
        data=DataRef("cd" * 32, 5, "secret-file.csv"),
        seed=seed,
        n_parameters=2 * n + 1,
        shapes={"head.weight": (2, n), "scale": ()},
        files={},
        scores={"accuracy": 0.75},
        licence_lineage=("base: MIT",),
        sartor_version="0.1.0",
    )
