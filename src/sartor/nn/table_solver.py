"""From coded rows to a solved net: members that were generated, members of random units, plain ridge, and their mix.

Every member has its own random draws, a path of penalties, and scores for each row by the head of the other rows
(:mod:`sartor.nn.ridge`). These left-out scores choose everything: how penalties are mixed, how much each of the three
counts in the answer (the guard), and how scores become probabilities. A mix of linear heads is one linear head, so what
is kept is one net.

Dimension key:   N: rows   D: columns   C: outputs   L: penalties   T: three ways
                 H, P: units and products of all members
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import scipy.optimize
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from sartor.nn import ridge, table_generator, table_net
from sartor.nn.ridge import Head
from sartor.nn.table_generator import Draws, Support, TableGenerator
from sartor.nn.table_net import Hidden

Floats = NDArray[np.float64]

WAYS = ("generated", "random", "linear")
PENALTIES = tuple(np.geomspace(0.01, 30, 9).tolist())
SHARPNESS = 2.0
"""How fast a penalty or a way loses its share by its excess error, times the root of the number of rows."""
MEMBERS = 16
"""Generated; a quarter as many are of random units."""
FOLDS = 4
"""Each member is generated without the rows of one fold, which it then judges."""
DEPLOYED_PRODUCTS = 256
MOST_ROWS = 10_000
"""Beyond, choices are made on so many rows, and the heads then solved on all."""
_SHARES = tuple(share for share in product(range(11), repeat=3) if sum(share) == 10)
_BELIEF = 1.0
"""What a share of a tenth that is not generated must gain, in rows' worth of variance, to be taken."""


@dataclass(frozen=True, slots=True)
class Net:
    """What answers: scores are linear in columns, units and products."""

    tensors: Mapping[str, Tensor]

    def scores(self, coded_ND: NDArray[np.float32]) -> Floats:
        """Return (N, C)."""
        t = self.tensors
        cells_1ND = torch.from_numpy(coded_ND)[None]
        found_NC = cells_1ND[0] @ t["columns.out"] + t["bias"]
        if t["units.out"].shape[0]:
            found_NC = found_NC + (cells_1ND[0] @ t["units.weight"] + t["units.bias"]).relu() @ t["units.out"]
        if t["products.out"].shape[0]:
            found_NC = found_NC + _steps(t, cells_1ND) @ t["products.out"]
        return found_NC.double().numpy()


def product_features(net: Net, coded_ND: NDArray[np.float32]) -> Tensor:
    """Return (N, P) whether the steps of each product hold, as 0 or 1."""
    return _steps(net.tensors, torch.from_numpy(coded_ND)[None])


def _steps(t: Mapping[str, Tensor], cells_1ND: Tensor) -> Tensor:
    named = (t[f"products.{name}"][None] for name in ("columns", "thresholds", "signs"))
    nothing = cells_1ND.new_zeros(1, 0, 0)
    return table_net.steps(Hidden(nothing, nothing, nothing, nothing, *named), cells_1ND)[0]


@dataclass(frozen=True, slots=True)
class Solved:
    """A net, and what it says of the rows it was solved from, each left out."""

    net: Net
    left_out_NC: Floats
    rows: NDArray[np.int64]
    """(N,) those that choices were made on; all unless they are very many."""
    shares: Mapping[str, float]
    """Of the three ways."""
    errors: Mapping[str, float]
    """Of the three ways, and of the mix: the share of variance that is not told of rows left out."""
    importance_D: Floats
    """How much of each column is let in, mean over generated members; the largest is 1."""
    members: tuple[tuple["_Member", float], ...] = ()
    """With what each counts."""

    def sums(self, coded_ND: NDArray[np.float32], targets_NC: Floats, weight_N: Floats | None = None) -> "Sums":
        """Return what the heads need of the rows this was solved from, so that others can be added."""
        rows = _Everything(coded_ND, targets_NC, weight_N)
        of_members = tuple(_sums(rows, member) for member, _ in self.members)
        return Sums(self.members, of_members, coded_ND.shape[1])


def solve(
    generator: TableGenerator,
    coded_ND: NDArray[np.float32],
    targets_NC: Floats,
    *,
    classes: int,
    weight_N: Floats | None = None,
    members: int = MEMBERS,
    seed: int = 0,
    guarded: bool = True,
) -> Solved:
    """Return the net of labelled rows.

    Args:
        generator: trained, or new (then all three ways are floors).
        coded_ND: rows as :mod:`sartor.nn.table_coder` codes them.
        targets_NC: one-hot classes, or standardised values (C = 1).
        classes: 0 for values.
        weight_N: how much each row counts beside the others.
        members: generated nets; at least two, since no net judges the rows it was generated from.
        seed: of their draws.
        guarded: whether left-out rows choose among the three ways; if not, what was generated answers alone.
    """
    if not coded_ND.shape[1]:
        return _of_nothing(targets_NC, weight_N)
    if weight_N is not None:
        weight_N = weight_N / weight_N.mean()
    rows = _chosen_rows(len(coded_ND), seed)
    support = _support(coded_ND[rows], targets_NC[rows], classes)
    weight_n = None if weight_N is None else weight_N[rows]
    members = max(members, 2)
    folds = min(FOLDS, members)  # so that every row has its judge
    fold_N = _folds(targets_NC[rows], classes, seed, folds)
    with torch.no_grad():
        # no row has a part in the hidden layer by which it is judged
        made = [
            table_generator.generate(generator, _without(support, fold_N != at % folds), _draws(support, seed, at))[-1]
            for at in range(members)
        ]
        hidden = [[one.hidden for one in made]]
        judged = [[fold_N == at % folds for at in range(members)]]
        if guarded:
            plain = [
                table_generator.floor(support, _draws(support, seed, members + at))
                for at in range(max(members // 4, 2))
            ]
            hidden += [[one.hidden for one in plain], [None]]
            judged += [[np.ones(len(rows), dtype=bool)] * len(plain), [np.ones(len(rows), dtype=bool)]]
        ways = [_way(each, mine, support, weight_n) for each, mine in zip(hidden, judged, strict=True)]
    left_out_TNC = np.stack([way.left_out_NC for way in ways])
    shares_T, errors_T = _shares(left_out_TNC, targets_NC[rows], weight_n)
    mixed_NC = np.tensordot(shares_T, left_out_TNC, axes=1)
    everything = None if len(rows) == len(coded_ND) else _Everything(coded_ND, targets_NC, weight_N)
    net = _joined([way.members for way in ways], shares_T, coded_ND.shape[1], everything)
    errors = {**dict(zip(WAYS, errors_T, strict=False)), "mix": _error(mixed_NC, targets_NC[rows], weight_n)}
    importance_D = np.mean([one.importance_BD[0].double().numpy() for one in made], axis=0)
    shares: dict[str, float] = dict(zip(map(str, WAYS), shares_T.tolist(), strict=False))
    members_used = _used([way.members for way in ways], shares_T)
    return Solved(net, mixed_NC, rows, shares, errors, importance_D, members_used)


def kept_below(errors_N: Floats, share: float) -> float:
    """Return the error that a new row keeps below with a chance of ``share``, told by those of rows left out.

    Where they are too few to say so much, the largest (conformal prediction: Vovk, Gammerman and Shafer 2005).
    """
    n = len(errors_N)
    return float(np.sort(errors_N)[min(int(np.ceil((n + 1) * share)), n) - 1])


def _of_nothing(targets_NC: Floats, weight_N: Floats | None) -> Solved:
    """Return what there is to say where no column varies: the mean."""
    n = len(targets_NC)
    weighed_N = np.ones(n) if weight_N is None else weight_N
    middle_C = np.average(targets_NC, axis=0, weights=weighed_N)
    others_NC = (weighed_N.sum() * middle_C - weighed_N[:, None] * targets_NC) / np.maximum(
        weighed_N.sum() - weighed_N, 1e-12
    )[:, None]
    net = Net({**_empty(0, targets_NC.shape[1]), "bias": torch.from_numpy(middle_C).float()})
    return Solved(net, others_NC, np.arange(n), {"linear": 1.0}, {"linear": 1.0, "mix": 1.0}, np.zeros(0))


def _chosen_rows(n: int, seed: int) -> NDArray[np.int64]:
    if n <= MOST_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, MOST_ROWS, replace=False))


def _folds(targets_NC: Floats, classes: int, seed: int, folds: int) -> NDArray[np.int64]:
    """Return (N,) the fold of each row; the rows of a class are spread over all."""
    n = len(targets_NC)
    drawn_N = np.random.default_rng([seed, 7]).random(n)
    by_class = np.lexsort((drawn_N, targets_NC.argmax(axis=1) if classes else np.zeros(n)))
    fold_N = np.empty(n, dtype=np.int64)
    fold_N[by_class] = np.arange(n) % folds
    return fold_N


def _without(support: Support, kept_N: NDArray[np.bool_]) -> Support:
    kept = torch.from_numpy(np.flatnonzero(kept_N))
    return replace(support, cells_BND=support.cells_BND[:, kept], targets_BNC=support.targets_BNC[:, kept])


def _support(coded_ND: NDArray[np.float32], targets_NC: Floats, classes: int) -> Support:
    cells_1ND = torch.from_numpy(coded_ND)[None]
    present_1D = torch.ones(1, coded_ND.shape[1], dtype=torch.bool)
    return Support(cells_1ND, present_1D, torch.from_numpy(targets_NC)[None].float(), torch.tensor([classes]))


def _draws(support: Support, seed: int, member: int) -> Draws:
    return Draws.of(1, support.cells_BND.shape[2], seed=1000 * seed + member, products=DEPLOYED_PRODUCTS)


# --- ways --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Member:
    """A hidden layer (None: the columns alone), its mean penalty and its head."""

    hidden: Hidden | None
    penalty: float
    head: Head


@dataclass(frozen=True, slots=True)
class _Way:
    members: list[_Member]
    left_out_NC: Floats
    """Mean over the members that may judge a row."""


def _way(
    hidden: Sequence[Hidden | None], judged: Sequence[NDArray[np.bool_]], support: Support, weight_N: Floats | None
) -> _Way:
    """Solve members under every penalty; what they say of the rows they may judge tells how penalties are mixed."""
    penalties_L = torch.tensor(PENALTIES, dtype=torch.float64)
    weight_n = None if weight_N is None else torch.from_numpy(weight_N)
    paths = [
        ridge.path(
            support.cells_BND if one is None else table_net.features(one, support.cells_BND),
            support.targets_BNC,
            penalties_L,
            weight_n,
        )
        for one in hidden
    ]
    targets_NC = support.targets_BNC[0].double().numpy()
    counts_N = np.sum(judged, axis=0)
    sums_LNC = sum(
        mine[None, :, None] * path.left_out_BLNC[0].numpy() for path, mine in zip(paths, judged, strict=True)
    )
    left_out_LNC = sums_LNC / np.maximum(counts_N, 1)[None, :, None]
    errors_L = np.array([_error(one, targets_NC, weight_N) for one in left_out_LNC])
    shares_L = scipy.special.softmax(-SHARPNESS * np.sqrt(len(targets_NC)) * errors_L)
    penalty = float(np.exp(shares_L @ np.log(PENALTIES)))
    mixed_1L = torch.from_numpy(shares_L)[None]
    members = [_Member(one, penalty, path.head(mixed_1L, penalties_L)) for one, path in zip(hidden, paths, strict=True)]
    return _Way(members, np.tensordot(shares_L, left_out_LNC, axes=1))


def _error(scores_NC: Floats, targets_NC: Floats, weight_N: Floats | None) -> float:
    """Return the share of the targets' variance that scores do not tell."""
    weight_N = np.ones(len(targets_NC)) if weight_N is None else weight_N
    middle_C = np.average(targets_NC, axis=0, weights=weight_N)
    total = weight_N @ ((targets_NC - middle_C) ** 2).sum(axis=1)
    return float(weight_N @ ((scores_NC - targets_NC) ** 2).sum(axis=1) / max(total, 1e-12))


def _shares(left_out_TNC: Floats, targets_NC: Floats, weight_N: Floats | None) -> tuple[Floats, list[float]]:
    """Return the mix of ways that errs least on rows left out, and each way's error.

    What was generated has the benefit of the doubt: with few rows the best mix is mostly luck.
    """
    errors = [_error(one, targets_NC, weight_N) for one in left_out_TNC]
    if len(left_out_TNC) == 1:
        return np.ones(1), errors
    n = len(targets_NC)
    tried = np.array(_SHARES) / 10

    def cost(shares_T: Floats) -> float:
        mixed = _error(np.tensordot(shares_T, left_out_TNC, axes=1), targets_NC, weight_N)
        return mixed + _BELIEF * (1 - shares_T[0]) / n

    return min(tried, key=cost), errors


# --- one net of all ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Everything:
    """All rows, where choices were made on some."""

    coded_ND: NDArray[np.float32]
    targets_NC: Floats
    weight_N: Floats | None


def _joined(ways: list[list[_Member]], shares_T: Floats, columns: int, everything: _Everything | None) -> Net:
    used = _used(ways, shares_T)
    return _net([_parts(member, share, columns, everything) for member, share in used], columns)


def _used(ways: list[list[_Member]], shares_T: Floats) -> tuple[tuple[_Member, float], ...]:
    """Return the members that count, and what each does."""
    return tuple(
        (member, float(share) / len(way))
        for way, share in zip(ways, shares_T, strict=True)
        if share > 0
        for member in way
    )


def _net(parts: Sequence[Mapping[str, Tensor]], columns: int) -> Net:
    """Return one net of all parts' tensors."""
    outputs = parts[0]["bias"].shape[0]
    joined: dict[str, Tensor] = {}
    for name, empty in _empty(columns, outputs).items():
        found = [part[name] for part in parts if name in part]
        if name in ("columns.out", "bias"):
            joined[name] = torch.stack(found).sum(0)
        else:
            joined[name] = torch.cat(found, dim=1 if name == "units.weight" else 0) if found else empty
    floats = {name: tensor.float() for name, tensor in joined.items() if tensor.is_floating_point()}
    return Net({**joined, **floats})


def _empty(columns: int, outputs: int) -> dict[str, Tensor]:
    steps = table_net.STEPS
    return {
        "columns.out": torch.zeros(columns, outputs),
        "bias": torch.zeros(outputs),
        "units.weight": torch.zeros(columns, 0),
        "units.bias": torch.zeros(0),
        "units.out": torch.zeros(0, outputs),
        "products.columns": torch.zeros(0, steps, dtype=torch.int64),
        "products.thresholds": torch.zeros(0, steps),
        "products.signs": torch.zeros(0, steps),
        "products.out": torch.zeros(0, outputs),
    }


def _parts(member: _Member, share: float, columns: int, everything: _Everything | None) -> dict[str, Tensor]:
    """Return a member's tensors, its amplitudes and its share folded into what goes out."""
    head = member.head if everything is None else _solved_on(everything, member)
    out_FC, bias_C = share * head.weight_BFC[0], share * head.bias_BC[0]
    if member.hidden is None:
        return {"columns.out": out_FC, "bias": bias_C}
    hidden = member.hidden
    units, products = hidden.bias_BH.shape[1], hidden.columns_BPK.shape[1]
    linear, rectified, ruled = hidden.amplitude_BG[0].double()
    skip_D1 = (hidden.skip_BD[0].double() * linear / max(columns, 1) ** 0.5)[:, None]
    return {
        "columns.out": skip_D1 * out_FC[:columns],
        "bias": bias_C,
        "units.weight": hidden.weight_BDH[0],
        "units.bias": hidden.bias_BH[0],
        "units.out": out_FC[columns : columns + units] * rectified / units**0.5,
        "products.columns": hidden.columns_BPK[0],
        # what is always 1 stays so: no cell lies so low, and a file of weights holds finite numbers only
        "products.thresholds": hidden.thresholds_BPK[0].clamp_min(-2 * table_net.LARGEST),
        "products.signs": hidden.signs_BPK[0],
        "products.out": out_FC[columns + units :] * ruled / max(products, 1) ** 0.5,
    }


_CHUNK = 8192


def _solved_on(everything: _Everything, member: _Member) -> Head:
    """Return the head of all rows under the member's penalty; sums are gathered chunk by chunk."""
    return _sums(everything, member).head(member.penalty)


def _sums(everything: _Everything, member: _Member) -> ridge.Sums:
    sums = None
    for at in range(0, len(everything.coded_ND), _CHUNK):
        cells_1ND = torch.from_numpy(everything.coded_ND[at : at + _CHUNK])[None]
        rows_1NF = cells_1ND if member.hidden is None else table_net.features(member.hidden, cells_1ND)
        weight_N = None if everything.weight_N is None else torch.from_numpy(everything.weight_N[at : at + _CHUNK])
        part = ridge.Sums.of(rows_1NF[0], torch.from_numpy(everything.targets_NC[at : at + _CHUNK]), weight_N)
        sums = part if sums is None else sums.plus(part)
    assert sums is not None
    return sums


# --- rows that come and go ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sums:
    """All that the heads of a net need of its rows. Rows can be added and taken off again; none is kept."""

    members: tuple[tuple["_Member", float], ...]
    of_members: tuple[ridge.Sums, ...]
    columns: int

    def plus(self, coded_ND: NDArray[np.float32], targets_NC: Floats, weight_N: Floats | None, sign: float) -> "Sums":
        """Return the sums with other rows (sign 1), or without rows that were added before (sign -1)."""
        rows = _Everything(coded_ND, targets_NC, weight_N)
        both = zip(self.of_members, self.members, strict=True)
        return replace(self, of_members=tuple(sums.plus(_sums(rows, member), sign) for sums, (member, _) in both))

    def net(self) -> Net:
        """Return the net whose heads are solved on these rows; what was generated stays as it is."""
        both = zip(self.of_members, self.members, strict=True)
        parts = [
            _parts(replace(member, head=sums.head(member.penalty)), share, self.columns, None)
            for sums, (member, share) in both
        ]
        return _net(parts, self.columns)


# --- probabilities -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calibration:
    """How scores become logits: ``plain * s + sharp * log(max(s, 0) + .02) + bias``."""

    plain: float
    sharp: float
    bias_C: Floats

    def probabilities(self, scores_NC: Floats) -> Floats:
        """Return (N, C), rows sum to one."""
        return scipy.special.softmax(self._logits(scores_NC) + self.bias_C, axis=1)

    def _logits(self, scores_NC: Floats) -> Floats:
        warmth_B2 = torch.tensor([[self.plain, self.sharp]], dtype=torch.float64)
        return table_generator.logits(torch.from_numpy(scores_NC)[None], warmth_B2)[0].numpy()


def calibrate(left_out_NC: Floats, targets_N: NDArray[np.int64], weight_N: Floats | None = None) -> Calibration:
    """Return what makes probabilities of scores that their heads had not seen, held towards what is usual."""
    n, classes = left_out_NC.shape
    weighed_N = np.ones(n) if weight_N is None else weight_N * n / weight_N.sum()
    start = table_generator.WARMTH
    floor_NC = np.log(np.maximum(left_out_NC, 0) + table_generator.LEAST_SCORE)
    right = np.arange(n), targets_N

    def objective(v: Floats) -> tuple[float, Floats]:
        plain = np.exp(v[0])
        logits_NC = plain * left_out_NC + v[1] * floor_NC + v[2:]
        logs_NC = scipy.special.log_softmax(logits_NC, axis=1)
        wrong_NC = weighed_N[:, None] * np.exp(logs_NC)
        wrong_NC[right] -= weighed_N
        value = (
            -weighed_N @ logs_NC[right]
            + 4 * (v[0] - np.log(start[0])) ** 2
            + 2 * (v[1] - start[1]) ** 2
            + 2 * v[2:] @ v[2:]
        )
        slope = np.concatenate(
            [
                [plain * (wrong_NC * left_out_NC).sum() + 8 * (v[0] - np.log(start[0]))],
                [(wrong_NC * floor_NC).sum() + 4 * (v[1] - start[1])],
                wrong_NC.sum(axis=0) + 4 * v[2:],
            ]
        )
        return float(value), slope

    found = scipy.optimize.minimize(
        objective,
        np.r_[np.log(start[0]), start[1], np.zeros(classes)],
        jac=True,
        method="L-BFGS-B",
        bounds=[(-3, 5), (0, 3), *[(-8, 8)] * classes],
    ).x
    return Calibration(float(np.exp(found[0])), float(found[1]), found[2:])
