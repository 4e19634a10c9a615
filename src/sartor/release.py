"""Moving an alias: promote behind a gate, roll back in one row, and tell how all that is served came to be.

What was decided stands beside every move in the registry's event log, as ``why``:

    kind      ``promote``, ``force`` (the gate refused, a person did not), ``ungated`` (there was nothing to compare
              by), ``rollback``, ``canary`` (a canary's verdict); absent where ``generate`` granted the alias
    reasons   sentences of the gate, or who asked

The *previous good version* is told from that log: every promotion is pushed, every rollback pops.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sartor.data.text import squeeze
from sartor.errors import BundleError, NotFoundError, UserError
from sartor.evaluate import gate, matching, quality
from sartor.families.interface import FloatArray, Writing
from sartor.model import Classifier, Model, Regressor, Writer, load, of_manifest
from sartor.registry import bundle, regression
from sartor.registry.regression import Case
from sartor.registry.store import Canary, Entry, Event, Store
from sartor.types import Progress, silent

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True, slots=True)
class Promoted:
    """What became of a promotion."""

    entry: Entry
    alias: str
    previous: str | None
    """Id that the alias pointed at; None where it pointed at nothing."""
    moved: bool
    """False where the gate refused."""
    forced: bool
    gate: gate.Release
    canary: Canary | None = None
    """What was begun in the place of a move."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What became of a rollback."""

    entry: Entry
    """The model that answers now."""
    alias: str
    left: str
    """Id of the model that answers no longer."""
    canary: bool
    """True where only a canary was ended: the champion stayed."""


def promote(
    home: Path,
    ref: str,
    *,
    alias: str = CHAMPION,
    canary: float | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Promoted:
    """Move an alias to a model if the gate lets it, or give the model a share of the champion's requests.

    Args:
        home: the store's folder.
        ref: what :meth:`sartor.registry.store.Store.get` takes.
        alias: to be moved. The champion is compared with its predecessor; any other alias is held to the limits alone.
        canary: share of the requests, 0..1; the alias does not move then.
        force: move although the gate refuses; the log keeps that, and what it said.
        progress: told of the cases.

    Raises:
        NotFoundError: when there is no such model.
        BundleError: when it is damaged, or its weights are no numbers; no force helps.
        StorageError: when another process moved the alias meanwhile.
    """
    store = Store(home)
    entry = store.get(ref)
    before = store.aliases(entry.name)
    if canary is not None and alias != CHAMPION:
        raise UserError(f"A canary takes a share of the champion's requests; leave out --as {alias}.")
    current = before.get(alias)
    model = load(entry.path)
    admit(model)
    if current == entry.id and canary is None:
        unchanged = gate.Check("unchanged", True, f"It is {entry.name}@{alias} already.")
        return Promoted(entry, alias, current, True, False, gate.Release(True, True, (unchanged,)))
    decision = ask(store, model, entry, current if alias == CHAMPION else None, alias, progress)
    if not decision.passed and not force:
        return Promoted(entry, alias, current, False, False, decision)
    why = {"kind": _kind(decision), "reasons": list(decision.reasons)}
    forced = not decision.passed
    if canary is not None:
        begun = store.start_canary(entry.name, entry.id, canary, why=why)
        return Promoted(store.get(entry.id), CHALLENGER, before.get(CHALLENGER), True, forced, decision, begun)
    moved = store.move_alias(entry.name, alias, entry.id, expected=current, why=why)
    return Promoted(moved, alias, current, True, forced, decision)


def rollback(home: Path, name: str | None = None, *, reason: str = "asked by a person") -> RolledBack:
    """Point the champion of a name at the previous good version; where a canary runs, end that alone.

    Args:
        home: the store's folder.
        name: of the models; may be left out where only one name can be rolled back.
        reason: kept in the log.

    Raises:
        NotFoundError: when there is nothing to go back to.
        BundleError: when the previous version is damaged.
        StorageError: when another process moved the alias meanwhile.
    """
    store = Store(home)
    name = _only_name(store) if name is None else name.partition("@")[0]
    events, aliases, running = store.events(), store.aliases(name), store.canary(name)
    current = aliases.get(CHAMPION)
    if current is None:
        store.get(name)  # tells of a name that does not exist
        raise NotFoundError(f"{name} has no champion, so there is nothing to roll back.")
    if running is not None and store.end_canary(name, running.id, why={"kind": "rollback", "reasons": [reason]}):
        return RolledBack(store.get(current), CHAMPION, running.id, canary=True)
    if (target := previous(events, name)) is None:
        raise NotFoundError(
            f"{name}@champion never was another version, so there is nothing to go back to. "
            "'sartor promote ID' moves it."
        )
    bundle.read(store.get(target).path)
    why = {"kind": "rollback", "reasons": [reason]}
    return RolledBack(store.move_alias(name, CHAMPION, target, expected=current, why=why), CHAMPION, current, False)


def conclude(home: Path, name: str, to_id: str, *, passed: bool, reason: str) -> bool:
    """End a canary with its verdict: the champion moves to it, or stays; say whether it was still running.

    Raises:
        StorageError: when another process moved the champion meanwhile.
    """
    store = Store(home)
    running, current = store.canary(name), store.aliases(name).get(CHAMPION)
    if running is None or running.id != to_id:
        return False
    why = {"kind": "canary", "reasons": [reason]}
    if not passed:
        return store.end_canary(name, to_id, why=why)
    store.move_alias(name, CHAMPION, to_id, expected=current, why=why)
    return True


def previous(events: Iterable[Event], name: str, alias: str = CHAMPION) -> str | None:
    """Return the id that a rollback of an alias goes to; None where there is none."""
    past = history(events, name, alias)
    return past[-2] if len(past) > 1 else None


def history(events: Iterable[Event], name: str, alias: str = CHAMPION) -> list[str]:
    """Return the good versions of an alias, oldest first, today's last: rollbacks have taken off what they left."""
    past: list[str] = []
    for event in events:
        body = event.body
        if event.kind != "alias" or (body.get("name"), body.get("alias")) != (name, alias):
            continue
        if body.get("why", {}).get("kind") == "rollback" and len(past) > 1:
            past.pop()
        else:
            past.append(str(body.get("to")))
    return past


def admit(model: Model) -> None:
    """Return if a model's weights are numbers; its hash, format and shapes were looked at when it was read.

    Raises:
        BundleError: naming the tensor that is not.
    """
    for name, tensor in model.weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise BundleError(f"{name} of {model.manifest.name} {model.id} holds NaN or infinity: it cannot answer.")


def ask(
    store: Store, model: Model, entry: Entry, incumbent_id: str | None, alias: str, progress: Progress = silent
) -> gate.Release:
    """Return what the gate says of a model that shall take an alias."""
    cases = regression.read(store.home, entry.name) if alias == CHAMPION else ()
    incumbent = _incumbent(model, store, incumbent_id)
    found = compare(model, incumbent, cases, progress=progress) if cases else None
    report = incumbent.report if incumbent is not None else None
    return gate.may_move(model.report, model.requirement.limits, incumbent=report, regression=found)


def _incumbent(model: Model, store: Store, incumbent_id: str | None) -> Model | None:
    if incumbent_id is None:
        return None
    try:
        found = load(store.get(incumbent_id).path)
    except (BundleError, NotFoundError):
        return None  # nobody could answer with it: whatever can is better
    if found.manifest.base == model.manifest.base and found.manifest.family == model.manifest.family:
        return of_manifest(found.manifest, found.report, found.weights, model.base)  # one base in memory for both
    return found


def _kind(decision: gate.Release) -> str:
    if not decision.passed:
        return "force"
    return "promote" if decision.gated else "ungated"


def _only_name(store: Store) -> str:
    events = store.events()
    canaries = store.snapshot().canaries
    names = sorted({entry.name for entry in store.list()})
    able = [name for name in names if name in canaries or previous(events, name) is not None]
    if len(able) == 1:
        return able[0]
    if not able:
        raise NotFoundError("No champion ever was another version, so there is nothing to go back to.")
    raise UserError(f"More than one name can be rolled back: {', '.join(able)}. Name one: sartor rollback {able[0]}.")


# --- the regression set ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Judged:
    """How one model answered N cases."""

    right: Sequence[bool]
    calibration: float | None = None
    error: float | None = None


def compare(
    model: Model, incumbent: Model | None, cases: Sequence[Case], *, progress: Progress = silent
) -> gate.Regression:
    """Return how a model and the incumbent answer the cases of a regression set."""
    ours = judge(model, cases, progress=progress)
    theirs = judge(incumbent, cases, progress=progress) if incumbent is not None else None
    lost = tuple(
        number
        for number, case in enumerate(cases, 1)
        if case.must_pass and not ours.right[number - 1] and (theirs is None or theirs.right[number - 1])
    )
    found = gate.Regression(
        cases=len(cases),
        right=sum(ours.right),
        must_pass=sum(case.must_pass for case in cases),
        must_pass_lost=lost,
        calibration=ours.calibration,
        error=ours.error,
    )
    if theirs is None:
        return found
    pairs = list(zip(ours.right, theirs.right, strict=True))
    return replace(
        found,
        incumbent_right=sum(theirs.right),
        wins=sum(one and not other for one, other in pairs),
        losses=sum(other and not one for one, other in pairs),
        incumbent_calibration=theirs.calibration,
        incumbent_error=theirs.error,
    )


def judge(model: Model, cases: Sequence[Case], *, progress: Progress = silent) -> Judged:
    """Return which cases a model answers rightly.

    A label must be the right one, whatever its case and width; a text the right one but for case, outer punctuation
    and spaces; of a value, the right one must lie within the interval.
    """
    inputs, wanted = [case.input for case in cases], [case.output for case in cases]
    if isinstance(model, Classifier):
        return _judge_labels(model, inputs, wanted, progress)
    if isinstance(model, Regressor):
        found = model.estimate(inputs, progress=progress)
        values = np.array([_number(text) for text in wanted])
        inside = (values >= found.low) & (values <= found.high)
        error = float(np.sqrt(np.nanmean((found.values - values) ** 2))) if np.isfinite(values).any() else None
        return Judged(inside.tolist(), error=error)
    assert isinstance(model, Writer), model
    longest = max((len(text) for text in wanted), default=64)
    answers = model.predict(inputs, Writing(max_new_tokens=min(max(longest, 16), 128)), progress=progress)
    pairs = zip(answers, wanted, strict=True)
    return Judged([matching.exact_match(a, b, fold_case=True, strip_punctuation=True) for a, b in pairs])


def _judge_labels(model: Classifier, inputs: list[str], wanted: list[str], progress: Progress) -> Judged:
    prediction = model.prediction(inputs, progress=progress)
    place = {squeeze(label.name): at for at, label in enumerate(model.requirement.labels)}
    names = len(model.requirement.labels)
    targets = np.array([place.get(squeeze(label), names) for label in wanted], dtype=np.int64)
    right = (prediction.best == targets).tolist()
    return Judged(right, calibration=_calibration(targets, prediction.probabilities))


def _calibration(targets: Any, probabilities: FloatArray) -> float:
    widened = np.pad(probabilities, ((0, 0), (0, 1)))  # no model gives anything to a label that it does not know
    bins = quality.calibration_bins(targets, widened)
    return sum(one.rows * abs(one.confidence - one.accuracy) for one in bins) / sum(one.rows for one in bins)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# --- what is served ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Served:
    """What stands behind one alias, and how it came there."""

    name: str
    alias: str
    version: int
    id: str
    family: str
    gate: str
    """``promote``, ``force``, ``ungated``, ``rollback``, ``canary``, or ``generate``: what let it in."""
    reasons: tuple[str, ...]
    moved: str
    """ISO 8601, UTC."""
    actor: str
    previous: str | None
    """Id that a rollback would go to; of a champion only."""
    canary: Canary | None
    policy: Mapping[str, Any]
    damage: str
    """Why its bundle cannot be read; "" where it can."""
    cases: int
    """In the regression set of the name."""


def served(home: Path) -> list[Served]:
    """Return what stands behind every alias, by name; each bundle is hashed."""
    store = Store(home)
    snapshot, events = store.snapshot(), store.events()
    entries = {entry.id: entry for entry in snapshot.entries}
    found: list[Served] = []
    for (name, alias), to in sorted(snapshot.aliases.items()):
        moves = [e for e in events if e.kind == "alias" and (e.body.get("name"), e.body.get("alias")) == (name, alias)]
        why = moves[-1].body.get("why", {}) if moves else {}
        champion = alias == CHAMPION
        found.append(
            Served(
                name=name,
                alias=alias,
                version=entries[to].version,
                id=to,
                family=entries[to].family,
                gate=str(why.get("kind", "generate")),
                reasons=tuple(why.get("reasons", ())),
                moved=moves[-1].at if moves else "",
                actor=moves[-1].actor if moves else "",
                previous=previous(events, name) if champion else None,
                canary=snapshot.canaries.get(name) if champion else None,
                policy=snapshot.policies.get((name, alias), {}),
                damage=_damage(entries[to].path),
                cases=len(regression.read(home, name)) if champion else 0,
            )
        )
    return found


def _damage(folder: Path) -> str:
    try:
        bundle.read(folder)
    except (BundleError, NotFoundError) as error:
        return str(error)
    return ""
