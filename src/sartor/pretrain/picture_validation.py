"""How an anchor of pictures does on groups that it was not learned from: by this, runs are compared.

Dimension key:   N: pictures   C: classes
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from sartor.nn import picture_anchor, solve
from sartor.nn.picture_net import PictureNet
from sartor.pretrain.picture_anchor import MIX, Below, blocks_above
from sartor.types import Weights

SHOTS, CLASSES, TASKS = 5, 8, 20
_AT_ONCE = 16


def accuracy(net: PictureNet, anchor: Weights | None, pools: Iterable[Below], *, seed: int = 0) -> dict[str, float]:
    """Return for each group the mean balanced accuracy of heads that were solved on five pictures a class.

    Only the blocks that an anchor has are read, so that nothing but the anchor differs.
    """
    return {pool.group: _of_pool(net, anchor, pool, np.random.default_rng(seed)) for pool in pools}


@torch.inference_mode()
def _of_pool(net: PictureNet, anchor: Weights | None, pool: Below, random: np.random.Generator) -> float:
    weights = net.weights if anchor is None else picture_anchor.adapted(net, anchor)
    parts = [blocks_above(net, weights, part.float()) for part in pool.states_PCHW.split(_AT_ONCE)]
    blocks = {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in MIX}
    return float(np.mean([_of_task(blocks, pool, random) for _ in range(TASKS)]))


def _of_task(blocks: dict[str, NDArray[np.float32]], pool: Below, random: np.random.Generator) -> float:
    known = np.unique(pool.classes_P[pool.sets_P == random.choice(np.unique(pool.sets_P))])
    chosen = random.permutation(known)[:CLASSES]
    rows = [random.permutation(np.flatnonzero(pool.classes_P == label)) for label in chosen]
    shots = min(SHOTS, min(map(len, rows)) // 2)
    seen, asked = np.concatenate([part[:shots] for part in rows]), np.concatenate([part[shots:] for part in rows])
    targets = np.repeat(np.arange(len(chosen)), shots)
    problem = solve.Problem(
        blocks={name: block[seen] for name, block in blocks.items()},
        similarity=np.zeros((len(seen), len(chosen))),
        targets=targets,
        n_labels=len(chosen),
        profiles={"deep": (1.0, MIX)},
        strengths=(0.0,),
    )
    head = solve.solve(problem, seed=0)
    scores = head.bias + sum(blocks[name][asked] @ columns for name, columns in head.weights.items())
    wanted = np.repeat(np.arange(len(chosen)), [len(part) - shots for part in rows])
    right = scores.argmax(axis=1) == wanted
    return float(np.mean([right[wanted == label].mean() for label in range(len(chosen))]))
