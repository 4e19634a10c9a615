"""(u) What is unusual, from good pictures alone: textiles with real-like faults, and drawn surfaces with stains.

    python -m benchmarks.unusual --data DATA

DATA holds ``textile_images/simulated/{nominal,global,local}``, as the package conformal-clip-data has them: 250 x 250,
woven; ``local`` has a fault in one place, ``global`` has another weave. Surfaces and their stains are drawn here
(:mod:`sartor.pretrain.surfaces`); of both nothing was chosen. The model and its controls are made from the same 5, 20
or 100 good pictures and score the same others. An AUROC is over all of these; its interval, and that of a difference,
is Student's over seeds (textiles: draws of good pictures) or over products (stains: seeds averaged). ``false_alarms``
and ``found`` are shares above the model's own threshold, which is made from the good pictures alone.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Run, arguments, seed_mean, table, verdict
from sartor.data.pictures import decode
from sartor.evaluate.quality import auroc
from sartor.families.image_anomaly_detection import FAMILY
from sartor.nn.picture_base import PictureBase, load_picture_base
from sartor.nn.unusual import PictureMaps, encode_maps
from sartor.types import Label, Requirement

GOOD = (5, 20, 100)
POOL, TEST, BAD = 250, 150, 100
"""Textiles: good pictures to draw from, good ones and bad ones of a kind to score."""
PRODUCTS, EACH = 6, 25
"""Stains: products, and of each so many good and bad ones to score."""
MODEL = "model"
BASE = "efficientnet-lite0"
NEED = Requirement(FAMILY.name, "unusual", "", (Label("good"),), language="", base=BASE, max_tokens=0)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Product:
    """Pictures of one thing, encoded."""

    set: str
    name: str
    pool: PictureMaps
    """Good ones to be made from."""
    good: PictureMaps
    bad: Mapping[str, PictureMaps]


# --- pictures ----------------------------------------------------------------------------------------------


def textiles(data: Path, encode: Callable[[Sequence[Pixels]], PictureMaps], few: int | None = None) -> Product:
    """Return the woven pictures; ``few`` of each for a test."""

    def some(kind: str, number: int) -> list[Pixels]:
        paths = sorted((data / "textile_images" / "simulated" / kind).glob("*.jpg"))
        order = np.random.default_rng(0).permutation(len(paths))[:number]
        return [decode(str(paths[at]), side=224) for at in order]

    pool, test, bad = (few, few, few) if few else (POOL, TEST, BAD)
    nominal = some("nominal", pool + test)
    found = {kind: encode(some(kind, bad)) for kind in ("global", "local")}
    return Product("textiles", "textile", encode(nominal[:pool]), encode(nominal[pool:]), found)


def stains(
    encode: Callable[[Sequence[Pixels]], PictureMaps], *, products: int, pool: int, each: int, side: int
) -> Iterator[Product]:
    """Draw surfaces, and stains on some of their pictures."""
    from sartor.pretrain.surfaces import KINDS, Defect, Surface

    for at in range(products):
        random = np.random.default_rng([31, at])
        surface, stain = Surface.draw(random, KINDS[at % len(KINDS)]), Defect.draw(random, "stains")

        def taken(number: int, stained: bool) -> list[Pixels]:
            found: list[Pixels] = []
            for _ in range(number):
                picture = surface.picture(random, side)  # noqa: B023  called before the next product
                picture = stain.paint(random, picture) if stained else picture  # noqa: B023
                found.append(np.round(255 * surface.taken(random, picture)).astype(np.uint8))  # noqa: B023
            return found

        yield Product(
            "stains",
            f"{surface.kind} {at}",
            encode(taken(pool, False)),
            encode(taken(each, False)),
            {"stains": encode(taken(each, True))},
        )


# --- figures -----------------------------------------------------------------------------------------------


def measure(product: Product, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each arm and kind of bad picture."""
    rows = np.random.default_rng([seed, n]).choice(len(product.pool), n, replace=False)
    support = product.pool.take(rows)
    began = time.perf_counter()
    weights = FAMILY.generate(NEED, support, np.arange(n), seed=seed)
    made = time.perf_counter() - began
    head = {"set": product.set, "product": product.name, "good": n, "seed": seed}
    good = FAMILY.predict(NEED, weights, product.good)
    for kind, bad in product.bad.items():
        began = time.perf_counter()
        answer = FAMILY.predict(NEED, weights, bad)
        yield {
            **head,
            "kind": kind,
            "arm": MODEL,
            "auroc": auroc(answer.scores, good.scores),
            "false_alarms": float(good.unusual.mean()),
            "found": float(answer.unusual.mean()),
            "generate_seconds": made,
            "score_seconds": (time.perf_counter() - began) / len(bad),
        }
    for control in FAMILY.controls(NEED):
        usual = control.answer(NEED, support, product.good, seed)
        for kind, bad in product.bad.items():
            yield {
                **head,
                "kind": kind,
                "arm": control.name,
                "auroc": auroc(control.answer(NEED, support, bad, seed), usual),
            }


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each set, kind, number of good pictures and arm: the AUROC, and how far the model is ahead."""
    found: list[dict[str, Any]] = []
    for of, kind, n in dict.fromkeys((row["set"], row["kind"], row["good"]) for row in rows):
        here = [row for row in rows if (row["set"], row["kind"], row["good"]) == (of, kind, n)]
        values = {arm: _units(here, arm, "auroc") for arm in dict.fromkeys(row["arm"] for row in here)}
        for arm, its in values.items():
            line: dict[str, Any] = {"set": of, "kind": kind, "good": n, "arm": arm, "auroc": seed_mean(its)}
            if arm == MODEL:
                line |= {
                    name: float(np.mean(_units(here, arm, name)))
                    for name in ("false_alarms", "found", "generate_seconds", "score_seconds")
                }
            else:
                ahead = seed_mean(np.array(values[MODEL]) - its)
                line |= {"ahead": ahead, "verdict": verdict(ahead)}
            found.append(line)
    return found


def _units(rows: Sequence[Mapping[str, Any]], arm: str, name: str) -> NDArray[np.float64]:
    """Return a figure of each seed, or of each product where there are several."""
    products = {row["product"] for row in rows}
    units: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        if row["arm"] == arm:
            units[row["product"] if len(products) > 1 else row["seed"]].append(row[name])
    return np.array([np.mean(one) for one in units.values()])


def told(summary: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for a person."""

    def line(row: Mapping[str, Any]) -> list[str]:
        ahead = f"{row['ahead'].value:+.3f} {row['verdict']}" if "ahead" in row else ""
        shares = f"{row['false_alarms']:.3f} {row['found']:.3f}" if "found" in row else ""
        return [f"{row['kind']} {row['good']} {row['arm']}", f"{row['auroc'].value:.3f}", ahead, shares]

    return table(["", "AUROC", "the model is ahead", "false alarms, found"], map(line, summary))


def encoder(base: PictureBase, spent: list[float]) -> Callable[[Sequence[Pixels]], PictureMaps]:
    """Return what encodes pictures and keeps the seconds that one took."""

    def encode(pictures: Sequence[Pixels]) -> PictureMaps:
        began = time.perf_counter()
        found = encode_maps(base.net, pictures, base.side)
        spent.append((time.perf_counter() - began) / len(pictures))
        return found

    return encode


def main() -> None:
    """Measure, tell and write."""
    options = arguments(__doc__ or "", seeds=5)
    run = Run("unusual", options, seeds=range(options.seeds))
    spent: list[float] = []
    encode = encoder(load_picture_base(BASE), spent)
    rows: list[dict[str, Any]] = []
    products = [lambda: iter([textiles(options.data, encode)])]
    products.append(lambda: stains(encode, products=PRODUCTS, pool=max(GOOD), each=EACH, side=224))
    for make in products:
        for product in make():
            run.say(f"{product.set}: {product.name}")
            rows += [row for n in GOOD for seed in run.seeds for row in measure(product, n, seed)]
    summary = summarise(rows)
    print(told(summary))
    run.write(rows, {"arms": summary, "encode_seconds_a_picture": float(np.median(spent))})


if __name__ == "__main__":
    main()
