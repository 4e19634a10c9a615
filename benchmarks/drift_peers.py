"""River's and Evidently's defaults on the streams of :mod:`benchmarks.drift`.

    python -m benchmarks.drift_peers DIR PEERS.json [--stationary N]

It imports numpy, pandas, river and Evidently only, so that it runs in an environment of its own; run again, it goes on
where it was cut off. River's detectors read one number at a time: confidence, or several numbers, each by a detector of
its own, an alarm of any being one. They see the reference first, then the stream, and begin anew after an alarm, as
they do by default. Evidently compares windows of 200 requests with the reference by the tests that it takes by default
(Kolmogorov-Smirnov, chi-square or z at p < 0.05 for as few rows); each window that drifted is an alarm.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

WINDOW = 200
SHARE = 0.5
"""Of columns, at which Evidently's preset calls a data set drifted."""
Detector = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], Iterator[int]]
"""Reference and stream -> the requests after which there is an alarm."""


def _channels(rows: Mapping[str, np.ndarray], names: str) -> np.ndarray:
    several = [rows["confidence"][:, None], rows["length"][:, None].astype(float)]
    if names == "all":
        several.append(rows["projection"])
    return np.concatenate(several[:1] if names == "confidence" else several, axis=1)


def river(make: Callable[[], Any], names: str) -> Detector:
    """Return one of river's detectors on some numbers."""

    def run(reference: Mapping[str, np.ndarray], stream: Mapping[str, np.ndarray]) -> Iterator[int]:
        old, new = _channels(reference, names), _channels(stream, names)
        detectors = [make() for _ in range(old.shape[1])]
        for row in old.tolist():
            for detector, value in zip(detectors, row, strict=True):
                detector.update(value)
        for at, row in enumerate(new.tolist(), start=1):
            hit = False
            for detector, value in zip(detectors, row, strict=True):
                detector.update(value)
                hit |= detector.drift_detected
            if hit:
                yield at

    return run


def evidently(names: str, share: float) -> Detector:
    """Return Evidently's default tests on some columns; an alarm where at least ``share`` of them drifted."""
    import pandas as pd
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    def columns(rows: Mapping[str, np.ndarray], part: slice) -> dict[str, tuple[str, Any]]:
        found: dict[str, tuple[str, Any]] = {"label": ("cat", pd.Series(rows["label"][part]))}
        for at, column in enumerate(_channels(rows, names).T):
            found[str(at)] = ("num", pd.Series(column[part]))
        return found

    def run(reference: Mapping[str, np.ndarray], stream: Mapping[str, np.ndarray]) -> Iterator[int]:
        old = columns(reference, slice(None))
        for end in range(WINDOW, len(stream["label"]) + 1, WINDOW):
            new = columns(stream, slice(end - WINDOW, end))
            drifted = []
            for name, (kind, values) in old.items():
                test = get_stattest(values, new[name][1], kind, None)
                drifted.append(bool(test(values, new[name][1], ColumnType(kind), None).drifted))
            if np.mean(drifted) >= share:
                yield end

    return run


def detectors() -> tuple[dict[str, Detector], dict[str, str]]:
    """Return what can be had: name -> detector; and package -> version, or why there is none."""
    found: dict[str, Detector] = {}
    versions: dict[str, str] = {}
    for package in ("river", "evidently"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    if versions["river"] != "not installed":
        from river import drift

        for names in ("confidence", "all"):
            found[f"river ADWIN, {names}"] = river(drift.ADWIN, names)
        found["river KSWIN, confidence"] = river(lambda: drift.KSWIN(seed=0), "confidence")
        found["river PageHinkley, confidence"] = river(drift.PageHinkley, "confidence")
    if versions["evidently"] != "not installed":
        found["Evidently, half of all columns"] = evidently("all", SHARE)
        found["Evidently, any of label, confidence, length"] = evidently("confidence, length", 1e-9)
    return found, versions


def main() -> None:
    parser = argparse.ArgumentParser(description="River's and Evidently's defaults on written streams.")
    parser.add_argument("streams", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--stationary", type=int, default=2, help="stationary streams a set that are read")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found, versions = detectors()
    rows: list[dict[str, Any]] = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    done = {(row["set"], row["kind"], row["seed"], row["detector"]) for row in rows}
    for path in sorted(options.streams.glob("*.npz")):
        name, kind, seed = path.stem.split("__")
        left = {one: run for one, run in found.items() if (name, kind, int(seed), one) not in done}
        if not left or (kind == "stationary" and int(seed) >= options.stationary):
            continue
        with np.load(path, allow_pickle=False) as arrays:
            sides = [
                {key.partition(".")[2]: arrays[key] for key in arrays.files if key.startswith(f"{side}.")}
                for side in ("reference", "stream")
            ]
            onset = int(arrays["onset"])
        for detector, run in left.items():
            row: dict[str, Any] = {"set": name, "kind": kind, "seed": int(seed), "detector": detector}
            if kind == "stationary":
                row["alerts"] = sum(1 for _ in run(*sides))
            else:
                first = next((at for at in run(*sides) if at > onset), None)
                row |= {"delay": None if first is None else first - onset, "signal": ""}
            rows.append(row)
        print(path.stem, file=sys.stderr, flush=True)
        options.out.write_text(json.dumps({"rows": rows, "versions": versions}))


if __name__ == "__main__":
    main()
