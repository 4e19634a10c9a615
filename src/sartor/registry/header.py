"""The header of a safetensors file, read and checked without loading a weight.

Layout: 8 bytes, the length of the header, little-endian · the header, JSON: name -> dtype, shape, offsets ·
the data, which the tensors tile without a hole. https://github.com/huggingface/safetensors, section "Format".
"""

import math
from collections.abc import Mapping
from typing import Annotated, BinaryIO

import msgspec

from sartor.errors import BundleError

MAX_HEADER_BYTES = 1_000_000
_MAX_DIMENSIONS = 8
_BYTES_PER_ITEM = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}

_Natural = Annotated[int, msgspec.Meta(ge=0)]


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dtype: str
    shape: tuple[_Natural, ...]
    data_offsets: tuple[_Natural, _Natural]


def read_shapes(file: BinaryIO, size: int, name: str) -> Mapping[str, tuple[int, ...]]:
    """Return tensor name -> shape of a safetensors file of ``size`` bytes, called ``name`` in errors.

    Raises:
        BundleError: when the header is cut off, too long, no JSON, or does not describe what follows.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise _damaged(name, f"it has {size} bytes, fewer than its header asks for")
    if length > MAX_HEADER_BYTES:
        raise _damaged(name, f"its header claims {length} bytes; at most {MAX_HEADER_BYTES} are read")
    try:
        fields = msgspec.json.decode(file.read(length), type=dict[str, msgspec.Raw])
        fields.pop("__metadata__", None)
        tensors = {key: msgspec.json.decode(raw, type=_Tensor) for key, raw in fields.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(name, f"its header cannot be read ({error})") from error
    _check_tiling(tensors, size - 8 - length, name)
    return {key: tensor.shape for key, tensor in tensors.items()}


def _check_tiling(tensors: Mapping[str, _Tensor], size: int, name: str) -> None:
    end = 0
    for key, tensor in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        begin, stop = tensor.data_offsets
        if tensor.dtype not in _BYTES_PER_ITEM:
            raise _damaged(name, f"tensor {key!r} has the unknown dtype {tensor.dtype!r}")
        if len(tensor.shape) > _MAX_DIMENSIONS:
            raise _damaged(name, f"tensor {key!r} has {len(tensor.shape)} dimensions")
        if begin != end or stop - begin != math.prod(tensor.shape) * _BYTES_PER_ITEM[tensor.dtype]:
            raise _damaged(name, f"tensor {key!r} does not lie where its header says")
        end = stop
    if end != size:
        raise _damaged(name, f"its tensors take {end} bytes and {size} follow the header")


def _damaged(name: str, why: str) -> BundleError:
    return BundleError(f"{name} is no sound safetensors file: {why}. Take the bundle from where it came again.")
