"""A text encoder, and the head on it, as an ONNX graph (https://onnx.ai) of plain operators (opset 20).

    ids (B, T), real (B, T) -> pooled (B, P, H) -> with words, characters (B, K): probabilities (B, C), scope (B)

What is pooled is what :class:`~sartor.nn.text_base.TextBase` reads: means and maxima of some layers, of the frozen way
and of the one with the anchor. In int8 the matrices of linear layers are quantised per channel and their inputs while
they come (dynamic quantisation by onnxruntime); the table of words has a scale for each word.

Nodes and files are made by the package ``onnx`` (the extra ``sartor[onnx]``); without it, importing this module is a
:class:`~sartor.errors.UserError`.

Dimension key:   B: texts   T: tokens   H: hidden width   A: heads   D: width of a head   P: pooled blocks   C: labels
                 K: buckets of n-grams
"""

import logging
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sartor.errors import UserError
from sartor.nn.encoder import Pooling
from sartor.nn.text_base import TextBase
from sartor.types import Weights

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    raise UserError("Writing ONNX needs the package onnx: say pip install 'sartor[onnx]'.") from None

OPSET: Final = 20
IR_VERSION: Final = 9
"""The oldest that has this opset."""
Precision: TypeAlias = Literal["float32", "int8"]
Array: TypeAlias = NDArray[Any]


def encoder_onnx(base: TextBase, precision: Precision = "float32") -> bytes:
    """Return the encoder: ids and which tokens are real in, pooled unit vectors out."""
    graph = Graph(base.encoder.config.heads)
    graph.encoder(base, int8_words=precision == "int8")
    made = graph.model([("pooled", TensorProto.FLOAT, ["B", "P", "H"])])
    return _quantised(made) if precision == "int8" else made.SerializeToString()


def with_head(encoder: bytes, weights: Weights) -> bytes:
    """Return the whole classifier: an encoder of :func:`encoder_onnx` with the head of a model on it."""
    model = onnx.load_from_string(encoder)
    graph = Graph(0)
    outputs = graph.head(weights)
    model.graph.node.extend(graph.nodes)
    model.graph.initializer.extend(graph.constants)
    model.graph.input.extend(graph.inputs)
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _quantised(model: Any) -> bytes:
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise UserError("Models in int8 need the package onnxruntime: say pip install 'sartor[onnx]'.") from None
    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder) / "int8.onnx"
        # 7 bits: with 8, processors without VNNI add pairs of products up in 16 bits and cut them off
        quantize_dynamic(
            model,
            out,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        return out.read_bytes()


@contextmanager
def _quiet() -> Generator[None]:
    """Leave unsaid that a graph might be made ready for quantising first: this one is."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class Graph:
    """Nodes as they are added, each with one output."""

    def __init__(self, heads: int) -> None:
        self.heads = heads
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self._shared: dict[str, str] = {}
        self._count = 0
        self._mark = "n" if heads else "h"

    # --- parts ------------------------------------------------------------------------------------------------

    def constant(self, array: Array, name: str = "") -> str:
        """Add an array; the same small one is added once."""
        array = np.ascontiguousarray(array)
        key = f"{array.dtype}{array.shape}{array.tobytes().hex()}" if array.size < 16 else ""
        if key and key in self._shared:
            return self._shared[key]
        made = name or self._name()
        self.constants.append(numpy_helper.from_array(array, made))
        if key:
            self._shared[key] = made
        return made

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        out = name or self._name()
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}_{out}", **attributes))
        return out

    def take(self, name: str, kind: int, shape: Sequence[str]) -> str:
        """Add an input of the graph."""
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def model(self, outputs: Sequence[tuple[str, int, Sequence[str]]]) -> Any:
        """Return the whole, checked."""
        infos = [helper.make_tensor_value_info(name, kind, list(shape)) for name, kind, shape in outputs]
        graph = helper.make_graph(self.nodes, "sartor", self.inputs, infos, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(made)
        return made

    def _name(self) -> str:
        self._count += 1
        return f"{self._mark}{self._count}"

    def _floats(self, *values: float) -> str:
        return self.constant(np.array(values, dtype=np.float32))

    def _ints(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    # --- the encoder ------------------------------------------------------------------------------------------

    def encoder(self, base: TextBase, *, int8_words: bool) -> None:
        """Add all that leads from ids to ``pooled``."""
        config = base.encoder.config
        frozen = _numpy(base.encoder.state_dict())
        ids = self.take("ids", TensorProto.INT64, ["B", "T"])
        real = self.take("real", TensorProto.BOOL, ["B", "T"])
        keep_BT = self.add("Cast", real, to=TensorProto.FLOAT)
        bias_B11T = self._mask(keep_BT)
        states = [self._embedded(ids, frozen, config.layer_norm_eps, int8_words)]
        for layer in range(config.layers):
            states.append(self._layer(states[-1], bias_B11T, frozen, f"encoder.layer.{layer}.", config.layer_norm_eps))
        if base.branched is not None:
            state = states[base.branched.start]
            upper = _numpy(base.branched.upper.state_dict())
            for at in range(len(base.branched.upper)):
                state = self._layer(state, bias_B11T, upper, f"{at}.", config.layer_norm_eps)
            states.append(state)
        keep_BT1 = self.add("Unsqueeze", keep_BT, self._ints(2))
        pooled = [self._pooled(states, keep_BT1, pooling) for pooling in base.poolings]
        self.add("Concat", *pooled, axis=1, name="pooled")

    def _mask(self, keep_BT: str) -> str:
        """Return (B, 1, 1, T): 0 for real tokens, far below for the others."""
        gone_BT = self.add("Sub", self._floats(1.0), keep_BT)
        return self.add("Unsqueeze", self.add("Mul", gone_BT, self._floats(-1e9)), self._ints(1, 2))

    def _embedded(self, ids: str, weights: Mapping[str, Array], eps: float, int8: bool) -> str:
        words_VH = weights["embeddings.word_embeddings.weight"]
        if int8:
            scale_V1 = np.maximum(np.abs(words_VH).max(axis=1, keepdims=True), 1e-12) / 127
            small_VH = self.constant(np.rint(words_VH / scale_V1).astype(np.int8), "table.words.int8")
            rows = self.add("Cast", self.add("Gather", small_VH, ids), to=TensorProto.FLOAT)
            words = self.add("Mul", rows, self.add("Gather", self.constant(scale_V1.astype(np.float32)), ids))
        else:
            words = self.add("Gather", self.constant(words_VH, "table.words"), ids)
        # all tokens are of type 0
        places_TH = (
            weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
        )
        length = self.add("Slice", self.add("Shape", ids), self._ints(1), self._ints(2), self._ints(0))
        places = self.add("Slice", self.constant(places_TH), self._ints(0), length, self._ints(0))
        return self._norm(self.add("Add", words, places), weights, "embeddings.LayerNorm", eps)

    def _layer(self, state: str, bias_B11T: str, weights: Mapping[str, Array], path: str, eps: float) -> str:
        attention = f"{path}attention."
        names = [f"{attention}self.{part}" for part in ("query", "key", "value")]
        width = len(weights[f"{names[0]}.bias"]) // self.heads
        weight_3HH = np.concatenate([weights[f"{name}.weight"] for name in names])
        bias_3H = np.concatenate([weights[f"{name}.bias"] for name in names])
        # the root of the width is taken off the queries beforehand
        many = len(bias_3H) // 3
        weight_3HH[:many] /= np.sqrt(width)
        bias_3H[:many] /= np.sqrt(width)
        three = self._linear(state, weight_3HH, bias_3H)
        split = self.add("Reshape", three, self._ints(0, 0, 3, self.heads, width))
        query, key, value = (
            self.add(
                "Squeeze", self.add("Slice", split, self._ints(at), self._ints(at + 1), self._ints(2)), self._ints(2)
            )
            for at in range(3)
        )
        query_BATD = self.add("Transpose", query, perm=[0, 2, 1, 3])
        key_BADT = self.add("Transpose", key, perm=[0, 2, 3, 1])
        value_BATD = self.add("Transpose", value, perm=[0, 2, 1, 3])
        scores = self.add("Add", self.add("MatMul", query_BATD, key_BADT), bias_B11T)
        mixed = self.add("MatMul", self.add("Softmax", scores, axis=-1), value_BATD)
        joined = self.add("Reshape", self.add("Transpose", mixed, perm=[0, 2, 1, 3]), self._ints(0, 0, -1))
        attended = self._residual(joined, state, weights, f"{attention}output", eps)
        inner = self._dense(attended, weights, f"{path}intermediate.dense")
        return self._residual(self.add("Gelu", inner), attended, weights, f"{path}output", eps)

    def _residual(self, inner: str, before: str, weights: Mapping[str, Array], path: str, eps: float) -> str:
        found = self.add("Add", self._dense(inner, weights, f"{path}.dense"), before)
        return self._norm(found, weights, f"{path}.LayerNorm", eps)

    def _norm(self, state: str, weights: Mapping[str, Array], path: str, eps: float) -> str:
        scale, shift = (self.constant(weights[f"{path}.{part}"]) for part in ("weight", "bias"))
        return self.add("LayerNormalization", state, scale, shift, axis=-1, epsilon=eps)

    def _dense(self, state: str, weights: Mapping[str, Array], path: str) -> str:
        return self._linear(state, weights[f"{path}.weight"], weights[f"{path}.bias"])

    def _linear(self, state: str, weight_OI: Array, bias_O: Array) -> str:
        return self.add("Add", self.add("MatMul", state, self.constant(weight_OI.T)), self.constant(bias_O))

    def _pooled(self, states: Sequence[str], keep_BT1: str, pooling: Pooling) -> str:
        """Return (B, 1, H) of length one."""
        state = states[pooling.layer]
        if pooling.kind == "max":
            gone = self.add("Mul", self.add("Sub", self._floats(1.0), keep_BT1), self._floats(-1e9))
            # what is real is taken as it is, bit by bit
            masked = self.add("Where", self.add("Cast", keep_BT1, to=TensorProto.BOOL), state, gone)
            found = self.add("ReduceMax", masked, self._ints(1), keepdims=1)
        else:
            total = self.add("ReduceSum", self.add("Mul", state, keep_BT1), self._ints(1), keepdims=1)
            found = self.add("Div", total, self.add("ReduceSum", keep_BT1, self._ints(1), keepdims=1))
        return self._unit(found)

    def _unit(self, vectors: str) -> str:
        norm = self.add("ReduceL2", vectors, self._ints(-1), keepdims=1)
        return self.add("Div", vectors, self.add("Max", norm, self._floats(1e-12)))

    # --- the head ---------------------------------------------------------------------------------------------

    def head(self, weights: Weights) -> list[Any]:
        """Add all that leads from ``pooled`` and n-grams to probabilities; return the outputs."""
        arrays = _numpy(weights)
        pooled_PHC = arrays["pooled.weight"]
        flat = self.add("Flatten", "pooled", axis=1)
        matrix = self.constant(pooled_PHC.reshape(-1, pooled_PHC.shape[-1]), "head.pooled")
        scores = self.add("Add", self.add("MatMul", flat, matrix), self.constant(arrays["bias"]))
        for block in ("words", "characters"):
            if f"{block}.weight" not in arrays:
                continue
            counts = self.take(block, TensorProto.FLOAT, ["B", "K"])
            weighed = self._unit(self.add("Mul", counts, self.constant(arrays[f"{block}.idf"])))
            scores = self.add("Add", scores, self.add("MatMul", weighed, self.constant(arrays[f"{block}.weight"])))
        sharp = self.add("Mul", scores, self._floats(float(weights["temperature"])))
        self.add("Softmax", sharp, axis=-1, name="probabilities")
        self.add("ReduceMax", sharp, self._ints(-1), keepdims=0, name="scope")
        return [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["B", pooled_PHC.shape[-1]]),
            helper.make_tensor_value_info("scope", TensorProto.FLOAT, ["B"]),
        ]


def _numpy(weights: Weights) -> dict[str, Array]:
    """Return tensors as float32 arrays that may be changed."""
    return {
        name: tensor.detach().cpu().float().numpy().copy()
        for name, tensor in weights.items()
        if tensor.is_floating_point() and tensor.dtype != torch.float64
    }
