"""Nodes and constants of an ONNX graph (https://onnx.ai) as they are added.

They are made by the package ``onnx`` (the extra ``sartor[onnx]``); without it, importing this module is a
:class:`~sartor.errors.UserError`.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from sartor.errors import UserError

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    raise UserError("Writing ONNX needs the package onnx: say pip install 'sartor[onnx]'.") from None


__all__ = ["Nodes", "TensorProto", "helper", "onnx"]


class Nodes:
    """Nodes in the order in which they are computed, each with one output.

    Args:
        taken: names that nothing that is added may get.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = set(taken)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, called: str = "node", **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = self._fresh(called)
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def constant(self, value: Any, called: str = "constant") -> str:
        """Add a constant and return its name."""
        name = self._fresh(called)
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _fresh(self, name: str) -> str:
        """Return a name that nothing has: columns may be called anything."""
        ends = ("", *(f"_{at}" for at in range(1, len(self._taken) + 2)))
        found = next(name + end for end in ends if name + end not in self._taken)
        self._taken.add(found)
        return found
