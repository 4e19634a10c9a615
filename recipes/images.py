"""Train the anchor of pictures: an adapter of the upper stages of the frozen net, learned over many small tasks.

    python -m recipes.images --data DATA --out DIR

Pictures are drawn (``sartor.pretrain.picture_tasks`` tells of what, and which groups are held out whole): surfaces and
their defects by rule; letters, icons, emoji and pieces of photographs from what lies in ``--data``:

    fonts/    .ttf, .otf          here: DejaVu, Liberation, FreeFont, IPA, M+ (packages of a Linux distribution)
    icons/    a font of icons     here: Material Design Icons (npm: @mdi/font)
    emoji/    pictures, emoji.json    here: Noto's (npm: emoji-datasource-google, img/google/64 and emoji.json)
    photos/   photographs         here: those of scikit-image's folder ``data``

A folder that is missing leaves its groups out. What is below the adapted stages is computed once and kept in ``--out``.

Hardware: one CPU core and 30 minutes at the ``cpu`` dial, two thirds of them drawing; ``--dial gpu`` is the same code
on one GPU. The same line goes on where a run was cut off.

What comes out, in ``--out``: anchor.safetensors (float16), card.json, a folder with history.json and, with matplotlib,
run.png.
"""

import argparse
import hashlib
import json
import time
from pathlib import Path

import torch

from recipes.common import Teller, draw, parser
from sartor.nn.anchor import ANCHOR, Anchor, write
from sartor.nn.picture_base import load_picture_base
from sartor.pretrain import picture_anchor, picture_tasks
from sartor.pretrain.picture_anchor import Below, Lesson
from sartor.pretrain.picture_validation import accuracy
from sartor.types import Weights

DIALS = {"cpu": picture_anchor.CPU, "gpu": picture_anchor.GPU}
SIZES = {"cpu": picture_tasks.Size(), "gpu": picture_tasks.LARGE}
STAGE = "anchor"


def main() -> None:
    options = parser(__doc__ or "", DIALS, base="efficientnet-lite0").parse_args()
    dial = DIALS[options.dial]
    net = load_picture_base(options.base, device=options.device).net
    began = time.monotonic()

    def tell(group: str, pictures: int) -> None:
        side = picture_tasks.SIDES[group]
        print(f"[{time.monotonic() - began:5.0f} s] {group} ({side}): {pictures} pictures", flush=True)

    def drawn(group: str) -> picture_tasks.Pool | None:
        return picture_tasks.draw_pool(group, options.data, SIZES[options.dial], seed=options.seed)

    learned, watched = (
        picture_anchor.below(net, picture_tasks.groups(side), drawn, options.out / "below", on_group=tell)
        for side in ("train", "validation")
    )
    told = Teller()
    told.stage(STAGE, dial.pace)
    lesson = Lesson(net, learned, watched, dial)
    adapter = picture_anchor.train(lesson, options.out / STAGE, seed=options.seed, on_look=told.look)
    write(Anchor(adapter), options.out / ANCHOR)

    found = {"frozen": accuracy(net, None, watched), "anchored": accuracy(net, adapter, watched)}
    for name, of_groups in found.items():
        print(f"{name}: " + ", ".join(f"{group} {100 * value:.1f}" for group, value in of_groups.items()))
    write_card(options, learned, adapter, found)
    draw(options.out, (STAGE,), "cross-entropy (nats)")
    print(f"Done: {options.out}")


def write_card(
    options: argparse.Namespace, learned: list[Below], adapter: Weights, found: dict[str, dict[str, float]]
) -> None:
    card = {
        "made by": f"python -m recipes.images --data DATA --out DIR --dial {options.dial} --seed {options.seed}",
        "base": options.base,
        "sha256": hashlib.sha256((Path(options.out) / ANCHOR).read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "parameters": sum(tensor.numel() for tensor in adapter.values()),
        "learned from": {pool.group: len(pool.classes_P) for pool in learned},
        "sources": sorted(
            str(path.relative_to(options.data))
            for folder in ("fonts", "icons", "photos")
            for path in (options.data / folder).glob("*")
        ),
        "validation, balanced accuracy from 5 pictures a class": found,
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
