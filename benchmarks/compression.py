"""(q) What a text classifier loses and gains in int8: accuracy pooled over all test rows, speed, size, cold start.

    python -m benchmarks.compression --data DATA

Models are generated from 5 rows a label (BANKING77, HWU64, CLINC150) or 64 (TREC-6, SST-5), seed 0. The whole test
files are answered by torch and by the engine in int8, with the very same head: the loss is of the encoder alone, as
served. Rows that only one has right are counted, the bound is exact. On some rows of each set the engine in float32 is
held against torch. Speed: both take turns in rounds, medians count. The runner is started in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import Encoder, Run, arguments, points, public_sets, table
from benchmarks.fewshot import targets
from sartor.compress import text_folder, text_onnx
from sartor.data.split import few
from sartor.evaluate import noninferior, timing
from sartor.families.interface import Condition
from sartor.families.text_classification import FAMILY
from sartor.nn.text_base import TextBase, engine_base, engine_files, load_base
from sartor.requirement.heuristic import understand
from sartor.types import Example, Requirement, Rows, Task, Weights

BASE = "all-minilm-l6-v2+anchor2"
SETS = {"banking77": "train_5", "hwu64": "train_5", "clinc150": "train_5", "trec6": "train", "sst5": "train"}
SHOTS = 64
CHECKED = 64
ROUNDS = 7
_RUN = """
import sys, time
started = float(sys.argv[2])
sys.path.insert(0, sys.argv[1])
import run
model = run.Model()
model.predict([sys.argv[3]])
cold = time.time() - started
peak = int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
print(cold, peak, "torch" in sys.modules)
"""


def main() -> None:
    told = {"--speed-only": {"action": "store_true", "help": "measure speed again, keep the rows of the result"}}
    options = arguments(__doc__ or "", seeds=None, extend=told)
    run = Run("compression", options, seeds=[0])
    base = load_base(BASE)
    whole, small = (text_onnx.encoder_onnx(base, precision) for precision in ("float32", "int8"))
    engines = {"onnx": whole, "int8": small}
    bases = {name: engine_base(engine_files(base, content, len(base.poolings))) for name, content in engines.items()}
    run.say("engines are made")
    kept = options.out / "compression.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text())["rows"] if options.speed_only else []
    sets = public_sets(options.data)
    made: dict[str, tuple[Requirement, Weights]] = {}
    for name, train in SETS.items():
        if options.speed_only and name != "trec6":
            continue
        found = sets[name]
        support = found[train] if train == "train_5" else few(found[train], SHOTS, 0)
        labels = dict.fromkeys(sorted({str(row.output) for row in support}), "")
        task = Task(name=name, labels=labels, language="en")
        need = understand(task, Rows(support), name=name, base=BASE).requirement
        weights = generate(base, options.cache, need, support)
        made[name] = need, weights
        if not options.speed_only:
            rows.append(quality(name, base, bases, options.cache, need, weights, support, found["test"]))
            run.say(f"{name}: {points(rows[-1]['float32'])} in float32, {points(rows[-1]['int8'])} in int8")
    need, weights = made["trec6"]
    texts = [row.input for row in sets["trec6"]["test"]]
    speed = throughput({"torch": base, **bases}, need, weights, texts)
    runner = {name: cold_start(base, content, need, weights, texts[0]) for name, content in engines.items()}
    summary = pooled(rows) | {
        "speed": speed,
        "throughput_int8_over_torch": ratio(speed, "int8"),
        "throughput_onnx_over_torch": ratio(speed, "onnx"),
        "bytes": {"torch": _bytes(base), **{name: len(content) for name, content in engines.items()}},
        "runner": runner,
    }
    run.write(rows, summary)
    print(told_of(rows, summary))


def labels_of(need: Requirement) -> list[str]:
    return [label.name for label in need.labels]


def generate(base: TextBase, cache: Path, need: Requirement, support: Sequence[Example]) -> Weights:
    encode = Encoder(base, cache)
    found = encode(need, [row.input for row in support])
    return FAMILY.generate(
        need, Condition(FAMILY.encode_labels(base, need), found, targets(labels_of(need), support)), seed=0
    )


def quality(
    name: str,
    base: TextBase,
    bases: dict[str, TextBase],
    cache: Path,
    need: Requirement,
    weights: Weights,
    support: Sequence[Example],
    test: Sequence[Example],
) -> dict[str, Any]:
    """Return how often each is right on all test rows, and where they differ."""
    texts, wanted = [row.input for row in test], targets(labels_of(need), test)
    torch_features = Encoder(base, cache)(need, texts)
    int8_features = replace(torch_features, pooled=bases["int8"].pooled(texts, need.max_tokens)[0])
    some = np.linspace(0, len(texts) - 1, CHECKED).astype(int)
    onnx_features = replace(
        torch_features.take(some), pooled=bases["onnx"].pooled([texts[at] for at in some], need.max_tokens)[0]
    )
    before, after = (FAMILY.predict(need, weights, found) for found in (torch_features, int8_features))
    same = FAMILY.predict(need, weights, onnx_features).probabilities
    was, now = before.best == wanted, after.best == wanted
    loss = noninferior.labelled_loss(was.tolist(), now.tolist(), (before.best == after.best).tolist())
    return {
        "set": name,
        "rows": len(test),
        "support": len(support),
        "float32": float(was.mean()),
        "int8": float(now.mean()),
        "lost": loss.negative_flips,
        "gained": loss.gained,
        "agreement": loss.agreement,
        "largest_difference_onnx": float(np.abs(same - before.probabilities[some]).max()),
        "cosine_int8": float(np.sum(torch_features.pooled * int8_features.pooled, axis=-1).mean()),
    }


def pooled(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the loss over all rows of all sets."""
    n = sum(row["rows"] for row in rows)
    lost, gained = (sum(row[key] for row in rows) for key in ("lost", "gained"))
    was = [True] * lost + [False] * gained + [True] * (n - lost - gained)
    now = [False] * lost + [True] * gained + [True] * (n - lost - gained)
    alike = round(sum(row["agreement"] * row["rows"] for row in rows))
    return {"loss": asdict(noninferior.labelled_loss(was, now, [True] * alike + [False] * (n - alike)))}


def throughput(bases: dict[str, TextBase], need: Requirement, weights: Weights, texts: Sequence[str]) -> dict[str, Any]:
    """Return what answers take, models taking turns."""

    def answerer(base: TextBase) -> timing.Answer:
        return lambda asked: FAMILY.predict(need, weights, FAMILY.encode(base, need, asked))

    found = timing.interleaved([answerer(one) for one in bases.values()], texts, rounds=ROUNDS)
    return {name: asdict(one) for name, one in zip(bases, found, strict=True)}


def ratio(speed: dict[str, Any], name: str) -> dict[str, float]:
    """Return how many times the answers of torch come in a second, by batch."""
    pairs = zip(speed[name]["throughput"], speed["torch"]["throughput"], strict=True)
    return {str(ours["batch"]): ours["per_second"] / theirs["per_second"] for ours, theirs in pairs}


def cold_start(base: TextBase, content: bytes, need: Requirement, weights: Weights, text: str) -> dict[str, Any]:
    """Return what a fresh process takes until the runner's first answer; the median of five."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        own = engine_files(base, content, len(base.poolings))
        text_folder.write_onnx(out, need, weights, base, own, abstains=True)
        size = sum(path.stat().st_size for path in out.iterdir())
        found = []
        for _ in range(5):
            command = [sys.executable, "-c", _RUN, str(out), str(time.time()), text]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            assert said[2] == "False", "the runner imported torch"
            found.append((float(said[0]), float(said[1])))
    seconds, memory = np.median(np.array(found), axis=0)
    return {"cold_start_s": float(seconds), "peak_memory_mb": float(memory), "folder_bytes": size}


def _bytes(base: TextBase) -> int:
    tensors = [*base.encoder.state_dict().values()]
    tensors += [] if base.branched is None else [*base.branched.upper.state_dict().values()]
    return sum(tensor.nbytes for tensor in tensors)


def told_of(rows: Sequence[dict[str, Any]], summary: dict[str, Any]) -> str:
    """Return the tables for a person."""
    header = ("set", "rows", "float32", "int8", "lost", "gained", "agree", "onnx off by")
    lines = [
        (
            row["set"],
            row["rows"],
            points(row["float32"]),
            points(row["int8"]),
            row["lost"],
            row["gained"],
            points(row["agreement"]),
            f"{row['largest_difference_onnx']:.0e}",
        )
        for row in rows
    ]
    loss = summary["loss"]
    speed = [
        (name, f"{one['latency_p50_ms']:.1f}", *(f"{part['per_second']:.0f}" for part in one["throughput"]))
        for name, one in summary["speed"].items()
    ]
    runner = [
        (name, f"{one['cold_start_s']:.2f}", f"{one['peak_memory_mb']:.0f}", f"{one['folder_bytes'] / 1e6:.1f}")
        for name, one in summary["runner"].items()
    ]
    said = (
        f"pooled over {loss['rows']} rows: {points(loss['value'])} points lost, at most {points(loss['high'])}; "
        f"{torch.get_num_threads()} thread(s)"
    )
    batches = tuple(f"/s at {one['batch']}" for one in summary["speed"]["torch"]["throughput"])
    engines = table(("engine", "p50 ms", *batches), speed)
    return "\n\n".join([table(header, lines), said, engines, table(("runner", "cold s", "peak MB", "MB"), runner)])


if __name__ == "__main__":
    main()
