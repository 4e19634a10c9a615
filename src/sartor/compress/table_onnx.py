"""A model of a table as an ONNX graph (https://onnx.ai) from raw columns to probabilities, or a value and its interval.

Nodes and file are made by the package ``onnx`` (the extra ``sartor[onnx]``); without it, importing this module is a
:class:`~sartor.errors.UserError`. Inputs are columns of N rows, (N, 1) each: float64 for numbers (NaN where missing;
booleans are 1 and 0; a date is one input for each of its parts, as ``opened: weekday``), strings for categories, as
their levels are spelled ("" where missing). float64, since a step may stand at the very value of a cell, and 0.1 in
float32 is another number. Where a column has the name of an output, ``_1`` is put behind the output's.

Dimension key:   N: rows
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from sartor.compress.onnx_graph import Nodes, TensorProto, helper, onnx
from sartor.compress.table_plan import Plan
from sartor.compress.whole import new_file
from sartor.errors import TaskError

OPSET: Final = 9
IR_VERSION: Final = 4
"""The oldest that has these opsets."""
_ML: Final = "ai.onnx.ml"


def write_onnx(path: Path, plan: Plan) -> None:
    """Write one file.

    Raises:
        TaskError: if two inputs would have one name.
        StorageError: if something stands at ``path``, or the disk does not take the file.
    """
    graph = _Graph(plan)
    scores = graph.scores(graph.coded())
    content = graph.model(graph.classes(scores) if plan.labels else graph.value(scores)).SerializeToString()
    with new_file(path) as new:
        new.write_bytes(content)


class _Graph(Nodes):
    """From raw columns to answers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.inputs = [*plan.numbers, *(field.name for field in plan.categories)]
        twice = [name for name in self.inputs if self.inputs.count(name) > 1]
        if twice:
            raise TaskError(f"Two inputs of the graph would be {twice[0]!r}. Rename that column and generate again.")
        super().__init__(self.inputs)

    # --- what is built

    def coded(self) -> str:
        """Return coded columns, (N, D) in float32."""
        a, parts = self.plan.arrays, []
        if self.plan.numbers:
            numbers = self.add("Concat", *self.inputs[: len(self.plan.numbers)], axis=1)
            known = self.add("Less", self.add("Abs", numbers), self.constant(np.float64(self.plan.about()["huge"])))
            if len(a["number_slot"]):
                parts.append(self._numbers(numbers, known))
            if len(a["gap_slot"]):
                there, gone = (self.constant(values_U) for values_U in a["gap_values"].T)
                parts.append(self.add("Where", self._columns(known, a["gap_slot"]), there, gone))
        for field, table in zip(self.plan.categories, self.plan.tables(), strict=True):
            code = self.add(
                "LabelEncoder",
                self.inputs[len(self.plan.numbers) + field.at],
                domain=_ML,
                keys_strings=list(field.levels),
                values_int64s=list(range(len(field.levels))),
                default_int64=len(field.levels),
            )
            rows = self.add("Gather", self.constant(table), code, axis=0)
            parts.append(self.add("Reshape", rows, self.constant(np.array([-1, table.shape[1]]))))
        return self.add("Concat", *parts, axis=1)

    def _numbers(self, numbers: str, known: str) -> str:
        a, slot = self.plan.arrays, self.plan.arrays["number_slot"]
        cells = self.add(
            "Where", self._columns(known, slot), self._columns(numbers, slot), self.constant(a["number_middle"])
        )
        bent = len(a["bend_knots"])
        if bent:
            straight = self._columns(cells, np.arange(bent, len(slot)))
            cells = self.add("Concat", self._bent(self._columns(cells, np.arange(bent))), straight, axis=1)
        centred = self.add("Sub", cells, self.constant(a["number_mean"]))
        standard = self.add("Div", centred, self.constant(a["number_spread"]))
        largest = np.float64(self.plan.about()["largest"])
        cut = self.add("Min", self.add("Max", standard, self.constant(-largest)), self.constant(largest))
        return self.add("Cast", cut, to=TensorProto.FLOAT)

    def _bent(self, cells: str) -> str:
        a = self.plan.arrays
        bent, knots = a["bend_knots"].shape
        above = self.add("Not", self.add("Less", self._reshaped(cells, [-1, bent, 1]), self.constant(a["bend_knots"])))
        counts = self.add("ReduceSum", self.add("Cast", above, to=TensorProto.INT64), axes=[2], keepdims=0)
        place = self.add("Add", counts, self.constant(np.arange(bent) * (knots + 1)))
        start, slope, base = (
            self.add("Gather", self.constant(a[f"bend_{name}"].ravel()), place, axis=0)
            for name in ("start", "slope", "base")
        )
        return self.add("Add", self.add("Mul", slope, self.add("Sub", cells, start)), base)

    def scores(self, coded: str) -> str:
        """Return scores, (N, C) in float64."""
        a = self.plan.arrays
        every = [self._times(coded, "columns_out")]
        if len(a["units_bias"]):
            units = self.add("Add", self._times(coded, "units_weight"), self.constant(a["units_bias"]))
            every.append(self._times(self.add("Relu", units), "units_out"))
        both = self.add("Concat", coded, self.add("Neg", coded), axis=1)
        for order in (1, 2, 3):
            if len(a[f"products_{order}_out"]):
                every.append(self._times(self._held(both, order), f"products_{order}_out"))
        wide = [self.add("Cast", one, to=TensorProto.DOUBLE) for one in every]
        return self.add("Add", self.add("Sum", *wide), self.constant(a["bias"]))

    def _held(self, both: str, order: int) -> str:
        column_PK = self.plan.arrays[f"products_{order}_column"]
        above_PK = self.plan.arrays[f"products_{order}_above"]
        steps = [
            self.add("Greater", self._columns(both, column_P), self.constant(above_P))
            for column_P, above_P in zip(column_PK.T, above_PK.T, strict=True)
        ]
        held = steps[0]
        for step in steps[1:]:
            held = self.add("And", held, step)
        return self.add("Cast", held, to=TensorProto.FLOAT)

    def classes(self, scores: str) -> list[Any]:
        """Return the outputs ``label`` (N) and ``probabilities`` (N, C)."""
        plain, sharp = self.plan.arrays["warmth"]
        floor = self.add("Max", scores, self.constant(np.float64(0)))
        logs = self.add("Log", self.add("Add", floor, self.constant(np.float64(self.plan.about()["least"]))))
        both = self.add(
            "Add",
            self.add("Mul", scores, self.constant(np.float64(plain))),
            self.add("Mul", logs, self.constant(np.float64(sharp))),
        )
        logits = self.add("Add", both, self.constant(self.plan.arrays["logit_bias"]))
        found = self.add("Softmax", logits, axis=1)
        best = self.add("ArgMax", found, axis=1, keepdims=0)
        names = self.constant(np.array(self.plan.labels, dtype=object))
        label = self.add("Gather", names, best, axis=0, called="label")
        odds = self.add("Identity", found, called="probabilities")
        return [
            helper.make_tensor_value_info(label, TensorProto.STRING, ["N"]),
            helper.make_tensor_value_info(odds, TensorProto.DOUBLE, ["N", len(self.plan.labels)]),
        ]

    def value(self, scores: str) -> list[Any]:
        """Return the outputs ``value``, ``low`` and ``high``, (N) each."""
        a = self.plan.arrays
        (middle, spread), (low, high), [half] = a["target"], a["range"], a["half"]
        scaled = self.add("Mul", self._reshaped(scores, [-1]), self.constant(np.float64(spread)))
        raw = self.add("Add", scaled, self.constant(np.float64(middle)))
        found = self.add("Min", self.add("Max", raw, self.constant(np.float64(low))), self.constant(np.float64(high)))
        shifts = {"value": 0.0, "low": -half, "high": half}
        names = [self.add("Add", found, self.constant(np.float64(by)), called=name) for name, by in shifts.items()]
        return [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["N"]) for name in names]

    # --- how it is built

    def _columns(self, cells: str, columns: Any) -> str:
        return self.add("Gather", cells, self.constant(np.asarray(columns, dtype=np.int64)), axis=1)

    def _reshaped(self, cells: str, shape: list[int]) -> str:
        return self.add("Reshape", cells, self.constant(np.array(shape)))

    def _times(self, cells: str, name: str) -> str:
        return self.add("MatMul", cells, self.constant(self.plan.arrays[name]))

    def model(self, outputs: list[Any]) -> Any:
        """Return the checked model."""
        numbers = len(self.plan.numbers)
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.DOUBLE if at < numbers else TensorProto.STRING, ["N", 1])
            for at, name in enumerate(self.inputs)
        ]
        graph = helper.make_graph(self.nodes, "sartor", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_ML, 2)]
        made = helper.make_model(graph, producer_name="sartor", opset_imports=opsets, ir_version=IR_VERSION)
        about = {name: told for name, told in self.plan.about().items() if name in ("name", "target", "fields")}
        helper.set_model_props(made, {"sartor": json.dumps(about)})
        onnx.checker.check_model(made)
        return made
