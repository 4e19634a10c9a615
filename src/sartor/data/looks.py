"""Which pictures look the same: shots of a burst, and copies that were saved again. They must not be parted in a proof.

Dimension key:   N: pictures
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sartor.data.pictures import Look, look

IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.float32]

MOST_BITS = 3
"""By which the difference hashes of two that look the same differ."""
_BAND = 16
"""Bits: of four parts, three bits that differ leave one as it is."""
_GREY_STEPS, _OF_CONTRAST = 3.0, 0.1
"""Two thumbnails are the same where their greys are this near on average (root mean square)."""
_COMPARED = 16
"""Pictures of a band that one is compared with: more are alike by nature, and time would grow with their square."""


def group_by_look(inputs: Sequence[str]) -> IntArray:
    """Return (N,) the group of each picture: those of one group look the same. It does not depend on their order.

    Pictures are compared with the first of a group, not with each of it, so that a long series of small changes is no
    group. Where more than a third of all would be one group, they are alike by nature, as parts on one bench are, and
    looks say nothing: of them only those are together whose looks are equal.

    Raises:
        PictureError: when one cannot be read.
    """
    looks = [look(path) for path in inputs]
    leaders = _leaders(sorted(set(looks), key=lambda one: (one.bits, one.thumb)))
    sizes = Counter(leaders[one] for one in looks)
    unlike = {leader for leader, size in sizes.items() if 3 * size > len(looks)}
    groups = [one if leaders[one] in unlike else leaders[one] for one in looks]
    return np.array([_number(one) for one in groups], dtype=np.int64)


def _leaders(looks: Sequence[Look]) -> dict[Look, Look]:
    """Return the first of each look's group."""
    found: dict[Look, Look] = {}
    bands: dict[tuple[int, int], list[int]] = defaultdict(list)
    thumbs = np.array([np.frombuffer(one.thumb, dtype=np.uint8) for one in looks], dtype=np.float32)
    for at, one in enumerate(looks):
        keys = [(start, one.bits >> start & ((1 << _BAND) - 1)) for start in range(0, 64, _BAND)]
        known = dict.fromkeys(other for key in keys for other in bands[key])
        near = [other for other in known if (one.bits ^ looks[other].bits).bit_count() <= MOST_BITS]
        same = _same(thumbs[at], thumbs[near]) if near else ()
        leader = next((other for other, alike in zip(near, same, strict=True) if alike), at)
        found[one] = looks[leader]
        if leader == at:
            for key in keys:
                bands[key] = [*bands[key][1 - _COMPARED :], at]
    return found


def _same(thumb: FloatArray, others: FloatArray) -> Sequence[bool]:
    """Return for each of other thumbnails whether it is the same."""
    most = max(_GREY_STEPS, _OF_CONTRAST * float(thumb.std()))
    return (np.sqrt(np.mean((others - thumb) ** 2, axis=1)) <= most).tolist()


def _number(one: Look) -> int:
    digest = hashlib.blake2b(one.bits.to_bytes(8, "big") + one.thumb, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
