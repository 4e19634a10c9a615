"""Train the generator of tables: statistics of columns in, the hidden layer of a small net out.

    python -m recipes.tabular --data DATA --out DIR

It learns from synthetic tables alone (``sartor.pretrain.table_prior``), drawn anew at every step. ``--data`` serves to
choose between runs: when it is done, the half of PMLB that nothing is reported of is foretold, by the generator and by
one that has learned nothing.

Hardware: one CPU core and 40 minutes at the ``cpu`` dial; ``--dial gpu`` is the same code on one GPU. The same line
goes on where a run was cut off.

What comes out, in ``--out``: tables.safetensors (float16), card.json, a folder with history.json and, with matplotlib,
run.png.
"""

import argparse
import dataclasses
import hashlib
import json

import torch
from safetensors.torch import save

from recipes.common import Teller, draw, parser
from sartor.nn.table_generator import TableGenerator
from sartor.pretrain import real_tables, table_generator, table_validation
from sartor.pretrain.table_generator import TableLesson
from sartor.pretrain.table_prior import Prior
from sartor.pretrain.table_validation import Validated

DIALS = {"cpu": table_generator.CPU, "gpu": table_generator.GPU}
STAGE, FILE = "generator", "tables.safetensors"


def main() -> None:
    options = arguments()
    dial = DIALS[options.dial]
    told = Teller()
    torch.manual_seed(options.seed)
    fresh = TableGenerator(width=dial.width, layers=dial.layers).to(options.device)
    lesson = TableLesson(fresh, dial, Prior(), options.device)
    told.stage(STAGE, dial.pace)
    weights = table_generator.train(lesson, options.out / STAGE, seed=options.seed, on_look=told.look)
    kept = {name: tensor.detach().cpu().half().contiguous() for name, tensor in sorted(weights.items())}
    (options.out / FILE).write_bytes(save(kept))

    chosen_by = [
        table for table in real_tables.load(options.data, "pmlb") if real_tables.half(table.name) == "validation"
    ]
    plain = TableGenerator(width=dial.width, layers=dial.layers)
    learned = TableGenerator(width=dial.width, layers=dial.layers)
    learned.load_state_dict({name: tensor.float() for name, tensor in kept.items()})
    found = {name: table_validation.validate(one, chosen_by) for name, one in (("learned", learned), ("plain", plain))}
    for name, validated in found.items():
        print(f"{name}: log-loss {validated.log_loss:.4f}, R2 {validated.r2:.4f} on {validated.tables} tables")
    write_card(options, found)
    draw(options.out, (STAGE,), "cross-entropy (nats), Huber loss")
    print(f"Done: {options.out}")


def arguments() -> argparse.Namespace:
    return parser(__doc__ or "", DIALS, base="none").parse_args()


def write_card(options: argparse.Namespace, found: dict[str, Validated]) -> None:
    dial = DIALS[options.dial]
    card = {
        "made by": f"python -m recipes.tabular --data DATA --out DIR --dial {options.dial} --seed {options.seed}",
        "sha256": hashlib.sha256((options.out / FILE).read_bytes()).hexdigest(),
        "torch": torch.__version__,
        "tables seen": dial.pace.steps * dial.tables,
        "validation half of PMLB": {name: dataclasses.asdict(one) for name, one in found.items()},
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
