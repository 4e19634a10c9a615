"""``sartor export``: a model in a format that other programs load."""

from pathlib import Path

import click

from sartor.cli import console
from sartor.errors import UserError

_FORMATS = ("peft", "gguf", "merged", "merged-gguf", "numpy", "onnx", "onnx-int8", "c", "js")
_LOADED_BY = {
    "peft": 'peft.PeftModel.from_pretrained(base, "{out}")',
    "gguf": "llama-server -m BASE.gguf --lora {out}",
    "merged": 'transformers.AutoModelForCausalLM.from_pretrained("{out}")',
    "merged-gguf": "llama-server -m {out}",
    "numpy": "python {out}/predict.py < rows.jsonl",
    "onnx": 'onnxruntime.InferenceSession("{out}")',
    "pictures": "ls new/*.jpg | python {out}/run.py",
    "texts": "pip install -r {out}/requirements.txt && python {out}/run.py < texts.txt",
    "c": "cc -O2 -DSARTOR_MAIN -x c {out} -lm",
    "js": 'import {{ predict }} from "{out}"',
}


@click.command()
@click.argument("model")
@click.option("--format", "form", type=click.Choice(_FORMATS), required=True, help="See above.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="PATH", help="New folder or file.")
@click.option("--dtype", metavar="TYPE", help="Of merged: F32, F16; of merged-gguf also Q8_0, Q4_1, Q4_0.")
@click.option("--dial", type=float, metavar="G", help="How much of the generated adapter; default as stored.")
@click.option(
    "--calibrate",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR",
    help="Of onnx-int8: pictures like those that will come, which tell its ranges; without, drawn ones do.",
)
@console.common
def export(
    model: str,
    form: str,
    out: Path,
    dtype: str | None,
    dial: float | None,
    calibrate: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Write MODEL (an id, a name, name@champion, name@v2, or a folder) for other programs.

    Of a model that writes: peft is a folder of PEFT, gguf an adapter for llama.cpp; merged is a folder as the hub has
    them, merged-gguf one file for llama.cpp, each with the base in it.

    Of a model that puts texts under labels: onnx is a folder with run.py, which needs no torch.

    Of a model of a table: numpy is a folder with predict.py, which needs numpy alone; onnx a graph from raw columns;
    c one file of C99; js one ES module.

    Of a model of pictures: onnx is a folder with one graph, the net in it, and run.py, which needs no torch; onnx-int8
    the same in 8 bits, a quarter of the size.
    """
    if dtype is not None and not form.startswith("merged"):
        raise UserError(f"--dtype is of whole models that write (merged, merged-gguf); {form} is written in float32.")
    from sartor import export as exporting
    from sartor.model import load

    loaded = load(model)
    with console.progress() as progress:
        written = exporting.export(loaded, form, out, dtype=dtype, dial=dial, calibrate=calibrate, progress=progress)
    if as_json:
        found = {"format": form, "path": str(written.path), "bytes": written.size, "notes": list(written.notes)}
        console.print_json({"model": loaded.id, **found})
        return
    for note in written.notes:
        console.say_error(f"! {note}")
    console.say(f"Written to {written.path}: {written.size / 1e6:.1f} MB.")
    loader = form
    if form.startswith("onnx") and out.is_dir():
        loader = loaded.family.reads
    console.say(f"\nLoad it: {_LOADED_BY[loader].format(out=out)}")
