"""Small generated models of tables with every kind of column, and odd rows for them."""

import functools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sartor.data import columns, records
from sartor.families import tabular_classification, tabular_regression
from sartor.families.interface import Condition
from sartor.model import of_manifest
from sartor.types import DataRef, Label, Manifest, Requirement, Weights

COLOURS = ["Red", "green ?", "日本\"'\\*/"]
CITIES = [f"city {at}" for at in range(40)]


def table(rows, seed=0):
    """Return a table of all kinds of columns, and what its rows amount to."""
    random = np.random.default_rng(seed)
    income = np.exp(2 * random.normal(size=rows))
    age, city = random.integers(18, 80, rows), random.integers(0, 40, rows)
    colour = random.choice(3, rows, p=[0.5, 0.3, 0.2])
    day = random.integers(0, 2500, rows)
    frame = pd.DataFrame(
        {
            "income": np.where(random.random(rows) < 0.1, np.nan, np.round(income, 3)),
            "age": age,
            "member": random.choice(["Yes", "no"], rows),
            "colour": np.array([*COLOURS, None], dtype=object)[np.where(random.random(rows) < 0.06, 3, colour)],
            "city": np.array(CITIES, dtype=object)[city],
            "opened": [str(np.datetime64("2015-01-01") + np.timedelta64(int(d), "D")) for d in day],
            "seen": [f"2021-03-{1 + d % 28:02} {d % 24:02}:{d % 60:02}" for d in day],
        }
    ).astype(object)
    worth = np.log(income) + 1.5 * (colour == 0) + np.where(age > 50, 1, -1) + city % 3 + (frame["member"] == "Yes")
    return frame, (worth + np.sin(day / 58) + 0.5 * random.normal(size=rows)).to_numpy(dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Made:
    family: object
    requirement: Requirement
    weights: Weights

    def answers(self, rows):
        """Return what Sartor itself says of rows: (N, C) probabilities, or (N, 3) value, low, high."""
        inputs = records.inputs_of(rows)
        found = self.family.predict(self.requirement, self.weights, self.family.encode(None, self.requirement, inputs))
        if self.requirement.labels:
            return found.probabilities
        return np.stack([found.values, found.low, found.high], axis=1)


def made(frame, targets, labels=()):
    """Generate a model of labelled rows."""
    family = (tabular_classification if labels else tabular_regression).FAMILY
    known, _ = columns.learn(columns.as_frame(frame))
    requirement = Requirement(
        family.name, "worth", "", tuple(map(Label, labels)), "en", "", 0, columns=known, target="worth"
    )
    support = family.encode(None, requirement, records.inputs_of(frame))
    if labels:
        condition = Condition(family.encode_labels(None, requirement), support, targets)
        return Made(family, requirement, family.generate(requirement, condition, seed=0))
    return Made(family, requirement, family.generate(requirement, support, targets, seed=0))


@functools.cache
def classifier():
    frame, worth = table(240)
    return made(frame, np.digitize(worth, [0.0, 2.5]), ["low", "so so", '高い "*/'])


@functools.cache
def two_classes():
    """A model of numbers alone."""
    frame, worth = table(120, seed=3)
    return made(frame[["income", "age"]], (worth > 1).astype(np.int64), ["no", "yes"])


@functools.cache
def regressor():
    frame, worth = table(200, seed=1)
    return made(frame, 1000 + 50 * worth)


def odd_rows(rows=120, seed=7):
    """Return rows with gaps in every column, unseen levels, and extreme values."""
    random = np.random.default_rng(seed)
    frame, _ = table(rows, seed=seed)
    for name in frame.columns:
        frame.loc[random.random(rows) < 0.15, name] = None
    extreme = [0.0, -0.0, 1e-300, -1e30, 1e308, float("inf"), float("-inf"), float("nan"), 123456789.123, -5]
    frame.loc[: len(extreme) - 1, "income"] = extreme
    frame.loc[10 : 9 + len(extreme), "age"] = extreme
    frame.loc[20:24, "colour"] = ["red", "RED ", "purple", "", "n/a"]
    frame.loc[20:24, "city"] = ["City 7", "  city   8", "nowhere", "?", "city 39"]
    frame.loc[25:29, "opened"] = ["1600-02-29", "2100-12-31", "2024-02-29", "2020-12-31 23:59:59", "0001-01-01"]
    frame.loc[30:35, "member"] = [True, False, "y", "N", 0, 1]
    frame.loc[36] = None
    return frame


def model(of):
    """Return a made model in the hand, as it comes from the store; nobody asked how good it is."""
    manifest = Manifest(
        format=1,
        id="0123456789abcdef",
        family=of.family.name,
        name="worths",
        created="2026-01-02T03:04:05+00:00",
        requirement=of.requirement,
        base=of.family.base(of.requirement).ref,
        generator=of.family.generator,
        head=of.family.head(of.weights),
        data=DataRef("cd" * 32, 240),
        seed=0,
        n_parameters=1,
        shapes={},
        files={},
    )
    return of_manifest(manifest, None, of.weights)
