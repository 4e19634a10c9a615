"""Bad and odd input to models that write: a sentence and nothing half-written, or a model with a note."""

import hashlib
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from cli_helpers import forked, snapshot, write_csv
from safetensors.torch import load, save
from test_interrupted import assert_whole, limited_to, signals_at
from test_refused import give_up_rights

import tiny_base
import tiny_language
from sartor import cli, pipeline, settings
from sartor.assets import catalogue
from sartor.families.text_generation import TextGeneration
from sartor.model import Writer
from sartor.nn.decoder import Decoder
from sartor.registry import bundle, disk
from sartor.registry.store import Store

TASK = "Rewrite the words in capital letters"
COLUMNS = ("input", "output")
ROWS = [(f"say {word}", f"{word.upper()} {at}") for at, word in enumerate("one two three four five six seven".split())]
CONTEXT = tiny_language.CONFIG["max_position_embeddings"]
FORMS = [["peft"], ["gguf"], ["merged"], ["merged-gguf", "--dtype", "F16"]]
ROUTE = "Route mails to billing, bug or other"


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """The bundle of a model that writes, made once for this file."""
    folder = tmp_path_factory.mktemp("once")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SARTOR_HOME", str(folder / "home"))
        patch.setenv("SARTOR_CACHE", str(folder / "cache"))
        patch.setenv("SARTOR_OFFLINE", "1")
        settings.current.cache_clear()
        patch.setattr(catalogue, "_BASES", tiny_base.specs(settings.current().cache))
        patch.setattr(catalogue, "_LANGUAGE_MODELS", tiny_language.specs(settings.current().cache))
        patch.setattr(pipeline, "_COST_SECONDS", 0.01)
        rows = write_csv(folder / "rows.csv", ROWS, COLUMNS)
        command = ["generate", TASK, "--examples", rows, "--name", "capitals", "--out", folder / "capitals"]
        assert cli.run([str(word) for word in command]) == 0
    settings.current.cache_clear()
    return folder / "capitals"


@pytest.fixture
def capitals(once, tmp_path):
    """A copy of that bundle, to be spoilt."""
    return Path(shutil.copytree(once, tmp_path / "capitals"))


@pytest.fixture
def rows_csv(tmp_path):
    return write_csv(tmp_path / "rows.csv", ROWS, COLUMNS)


@pytest.fixture
def place(tmp_path):
    """A folder of the test's own, in which nothing may be left behind."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def files(folder):
    """Return all that is in a folder; the cache of bases may change."""
    return {path: content for path, content in snapshot(folder).items() if not path.startswith("cache")}


@pytest.fixture
def refused(sartor, tmp_path):
    """Run a command that must be refused, and leave every file as it was; return the sentence."""

    def run(*arguments):
        before = files(tmp_path)
        ran = sartor(*arguments)
        assert ran.code == 2, ran
        assert ran.out == ""
        assert files(tmp_path) == before
        sentence = ran.err.split("Error: ", 1)[1].strip()
        assert len(sentence.split()) >= 6, sentence
        return sentence

    return run


@pytest.fixture
def generated(sartor, tmp_path):
    """Generate from rows with ``--json``; return what it said. The store must be whole."""

    def run(rows, *options, task=TASK):
        given = ["--examples", write_csv(tmp_path / "given.csv", rows, COLUMNS)] if rows else []
        ran = sartor("generate", task, *given, "--name", "odd", "--json", *options)
        assert ran.code == 0, ran.err
        assert ran.json["family"] == "text-generation"
        store = Store(settings.current().home)
        assert_whole(store)
        assert [entry.id for entry in store.list()] == [ran.json["id"]]
        return ran.json

    return run


def warned(found, *parts):
    """Return whether one warning has all these parts."""
    texts = [note["text"] for note in found["notes"] if note["level"] == "warning"]
    return any(all(part in text for part in parts) for text in texts)


# --- descriptions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["generate", "init"])
@pytest.mark.parametrize("description", ["", " \n\t"])
def test_an_empty_description_without_rows_is_refused(refused, tmp_path, command, description):
    out = tmp_path / ("task.yaml" if command == "init" else "out")
    sentence = refused(command, description, "--kind", "text-generation", "--out", out)
    assert "description is empty" in sentence
    assert "Say in a sentence" in sentence


def test_prompts_alone_do_not_say_what_is_to_be_written(refused, tmp_path):
    prompts = write_csv(tmp_path / "prompts.csv", [("say ten",)], ["text"])
    assert "description is empty" in refused("generate", "", "--kind", "text-generation", "--prompts", prompts)


def test_a_task_file_with_nothing_to_go_by_is_refused(refused, tmp_path):
    task = tmp_path / "task.yaml"
    task.write_text("name: x\nkind: text-generation\n")
    assert "description is empty" in refused("generate", task)


def test_a_description_of_a_megabyte_is_cut_and_told(generated):
    found = generated([], task=TASK + " as they are" * 83_334)
    assert warned(found, "1,000,044 characters", "first 2,000 are used")
    assert len(found["name"]) < 100
    assert sum(file.stat().st_size for file in Path(found["path"]).iterdir()) < 100_000


# --- prompts -----------------------------------------------------------------------------------------------


def test_prompts_in_another_script_are_read_with_a_warning(generated, sartor, tmp_path):
    prompts = write_csv(tmp_path / "prompts.csv", [("請求書の件です。お願いします",), ("明日は雨です",)], ["text"])
    found = generated([], "--prompts", prompts)
    assert warned(found, "reads English", "ja")
    assert sartor("predict", "odd", "明日は雨です", "--json", "--max-new-tokens", 3).code == 0


def test_prompts_without_a_text_are_refused(refused, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"text": ""}\n{"text": " "}\n')
    assert "2 have no text" in refused("generate", TASK, "--prompts", prompts)


def test_prompts_from_nowhere_are_refused(refused, tmp_path):
    assert "There is no file" in refused("generate", TASK, "--prompts", tmp_path / "nowhere.csv")


# --- rows --------------------------------------------------------------------------------------------------


def test_ten_thousand_rows_take_seconds(generated):
    start = time.monotonic()
    found = generated([(f"say {number}", f"SAY {number}") for number in range(10_000)])
    assert time.monotonic() - start < 20  # a busy machine; it takes one
    assert any("64 of 10,000 rows" in note["text"] for note in found["notes"])
    assert found["report"]["protocol"]["rows"] == 48
    assert found["report"]["proved"]


def test_one_row_gives_a_model_that_proves_nothing(generated, sartor):
    found = generated(ROWS[:1])
    assert not found["report"]["proved"]
    assert "1 row" in found["report"]["headline"]
    assert sartor("predict", "odd", "say ten", "--json", "--max-new-tokens", 3).code == 0


def test_rows_that_all_contradict_each_other_are_told(generated):
    found = generated([("say it", output) for _, output in ROWS])
    assert warned(found, "1 text has more than one answer")
    assert not found["report"]["proved"]


def test_outputs_that_are_all_the_same_are_no_labels(refused, tmp_path):
    rows = write_csv(tmp_path / "same.csv", [(f"say {n}", "YES") for n in range(12)], COLUMNS)
    assert "two labels" in refused("generate", TASK, "--examples", rows)


def test_outputs_that_are_all_the_same_are_told(generated):
    found = generated([(text, "YES") for text, _ in ROWS], "--kind", "text-generation")
    assert warned(found, "same answer")


def test_rows_without_an_output_are_left_out(generated):
    found = generated([*ROWS[:5], ("say six", ""), ("say seven", " ")])
    assert warned(found, "2 rows", "left out")
    assert found["report"]["protocol"]["rows"] == 5


def test_rows_that_all_lack_an_output_are_refused(refused, tmp_path):
    rows = write_csv(tmp_path / "rows.csv", [(text, "") for text, _ in ROWS], COLUMNS)
    sentence = refused("generate", TASK, "--kind", "text-generation", "--examples", rows)
    assert "None of the 7 rows" in sentence
    assert "7 no label" in sentence


# --- rows beyond the context -------------------------------------------------------------------------------

LONG = {"an output": ("say it", "W" * 500), "an input": ("w" * 500, "W")}
TOO_LONG = "rows are read as far as they go, beyond what the base was made for; 8,000 letters took 170 s and 10 GB"


@pytest.fixture
def read(monkeypatch):
    """Lengths of what the base reads."""
    lengths = []
    real = Decoder.below

    def below(self, ids_BT, *arguments, **options):
        lengths.append(ids_BT.shape[1])
        return real(self, ids_BT, *arguments, **options)

    monkeypatch.setattr(Decoder, "below", below)
    return lengths


@pytest.mark.parametrize("row", LONG.values(), ids=LONG)
def test_generate_reads_no_row_beyond_the_context(generated, read, row):
    generated([*ROWS[:3], row])
    assert read
    assert max(read) <= CONTEXT


@pytest.mark.parametrize("row", LONG.values(), ids=LONG)
def test_evaluate_reads_no_row_beyond_the_context(sartor, capitals, read, tmp_path, row):
    data = write_csv(tmp_path / "test.csv", [*ROWS[:2], row], COLUMNS)
    assert sartor("evaluate", capitals, "--data", data).code == 0
    assert read
    assert max(read) <= CONTEXT


@pytest.mark.parametrize("row", LONG.values(), ids=LONG)
def test_generate_tells_of_rows_that_are_too_long(generated, row):
    found = generated([*ROWS[:3], row])
    assert warned(found, "1 ", "long") or warned(found, "1 ", "cut")


def test_generate_tells_of_answers_of_many_words(generated):
    assert warned(generated([*ROWS[:3], ("say it", "W " * 201)]), "1 answer has more than 200 words")


def test_an_input_beyond_the_context_is_answered(sartor, capitals, tmp_path):
    data = write_csv(tmp_path / "new.csv", [("say it " * 300, ""), ("say ten", "")], COLUMNS)
    assert sartor("predict", capitals, "say it " * 300).code == 0
    ran = sartor("predict", capitals, "--input", data, "--output", tmp_path / "answers.jsonl", "--max-new-tokens", 4)
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["input"] for line in lines] == ["say it " * 300, "say ten"]


@pytest.mark.parametrize("several", [False, True])
def test_predict_tells_that_an_input_was_cut(sartor, capitals, tmp_path, several):
    ran = sartor("predict", capitals, "say it " * 300, *(["say ten", "--json"] if several else []))
    assert ran.code == 0
    assert "cut" in ran.err


# --- bases and kinds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["gpt-4", "", "../../etc", "a\0b"])
def test_an_unknown_base_is_refused(refused, rows_csv, base):
    sentence = refused("generate", TASK, "--examples", rows_csv, "--base", base)
    assert "smollm2-135m-instruct" in sentence


def test_the_nearest_base_is_offered(refused, rows_csv):
    sentence = refused("generate", TASK, "--examples", rows_csv, "--base", "smolm2-135m-instruct")
    assert "Did you mean 'smollm2-135m-instruct'?" in sentence


def test_a_base_of_the_other_kind_is_refused(refused, rows_csv, mails_csv):
    assert "smollm2" in refused("generate", TASK, "--examples", rows_csv, "--base", "all-minilm-l6-v2")
    assert "minilm" in refused("generate", ROUTE, "--examples", mails_csv, "--base", "smollm2-135m-instruct")


@pytest.mark.parametrize("writes", [True, False])
def test_a_base_of_the_other_kind_is_called_so(refused, rows_csv, mails_csv, writes):
    if writes:
        sentence = refused("generate", TASK, "--examples", rows_csv, "--base", "all-minilm-l6-v2")
    else:
        sentence = refused("generate", ROUTE, "--examples", mails_csv, "--base", "smollm2-135m-instruct")
    assert f"kind: text-{'classification' if writes else 'generation'}" in sentence


def test_the_nearest_kind_is_offered(refused, rows_csv):
    sentence = refused("generate", TASK, "--examples", rows_csv, "--kind", "text-generatoin")
    assert "Did you mean 'text-generation'?" in sentence


# --- bundles -----------------------------------------------------------------------------------------------


def resealed(folder, *, weights=None, content=None, fields=None):
    """Change a bundle and make all its hashes fit again, as a stranger may."""
    path, manifest = folder / bundle.WEIGHTS, folder / bundle.MANIFEST
    told = json.loads(manifest.read_text())
    if weights is not None:
        tensors = weights(load(path.read_bytes()))
        path.write_bytes(save(tensors))
        told["shapes"] = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if content is not None:
        path.write_bytes(content(path.read_bytes()))
    told["files"][bundle.WEIGHTS] = hashlib.sha256(path.read_bytes()).hexdigest()
    told = {**told, **(fields(told) if fields else {})}
    told["id"] = hashlib.sha256(bundle.canonical({key: told[key] for key in told if key != "id"})).hexdigest()[:16]
    manifest.write_text(json.dumps(told, sort_keys=True, ensure_ascii=False, indent=2) + "\n")
    return folder


def with_value(name, value):
    return {"weights": lambda tensors: {**tensors, name: torch.tensor(value)}}


def without(*ends):
    """Leave the first site's tensors of these ends out."""

    def weights(tensors):
        site = min(name for name in tensors if name.endswith(".lora_A.weight")).removesuffix(".lora_A.weight")
        return {name: tensor for name, tensor in tensors.items() if name not in [site + end for end in ends]}

    return {"weights": weights}


def with_a_number_that_is_none(tensors):
    name = min(name for name in tensors if name.endswith(".lora_B.weight"))
    return {**tensors, name: tensors[name].clone().index_fill(0, torch.tensor([0]), math.nan)}


def at_a_site_of_its_own(tensors):
    return {name.replace("layers.2.", "layers.7."): tensor for name, tensor in tensors.items()}


SPOILT = {
    "cut off": ({"content": lambda data: data[:-40]}, "no sound safetensors file"),
    "nothing": ({"content": lambda _: b""}, "safetensors"),
    "NaN": ({"weights": with_a_number_that_is_none}, "not finite"),
    "half a site": (without(".lora_B.weight"), "not whole"),
    "a site of another base": ({"weights": at_a_site_of_its_own}, "layers.7."),
    "no rank": ({"weights": lambda tensors: {k: t for k, t in tensors.items() if k != "anchor.rank"}}, "anchor.rank"),
    "another's base": ({"fields": lambda told: {"base": {**told["base"], "sha256": "0" * 64}}}, "made on the base"),
    "an unknown base": (
        {"fields": lambda told: {"requirement": {**told["requirement"], "base": "gpt-4"}}},
        "'gpt-4'",
    ),
    "another family": ({"fields": lambda told: {"family": "text-classification"}}, "smollm2"),
}


def asked(folder, tmp_path, rows_csv):
    """Every command that makes a model answer."""
    return {
        "predict": ["predict", folder, "say ten"],
        "predict many": ["predict", folder, "a", "b"],
        "evaluate": ["evaluate", folder, "--data", rows_csv],
        "export": ["export", folder, "--format", "peft", "--out", tmp_path / "place" / "out"],
    }


def test_a_bundle_that_is_sealed_again_is_as_good(sartor, capitals, tmp_path, rows_csv):
    folder = resealed(capitals, weights=lambda tensors: tensors)
    for command in asked(folder, tmp_path, rows_csv).values():
        assert sartor(*command).code == 0


@pytest.mark.parametrize(("change", "part"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_bundle_is_refused_by_every_command(refused, capitals, tmp_path, rows_csv, place, change, part):
    folder = resealed(capitals, **change)
    for name, command in asked(folder, tmp_path, rows_csv).items():
        sentence = refused(*command)
        assert part in sentence or name == "export"


def test_a_site_that_the_manifest_names_may_not_be_missing(refused, capitals, tmp_path, rows_csv, place):
    told = json.loads((capitals / bundle.MANIFEST).read_text())
    folder = resealed(
        capitals, **without(".lora_A.weight", ".lora_B.weight"), fields=lambda _: {"shapes": told["shapes"]}
    )
    for command in asked(folder, tmp_path, rows_csv).values():
        assert "does not hold the tensors that the manifest names" in refused(*command)


NUMBERS = {
    "an answerer too many": ("answerer", 3),
    "an answerer below zero": ("answerer", -1),
    "an answerer that is no number": ("answerer", math.nan),
    "several answerers": ("answerer", [0, 1]),
    "a dial that is no number": ("dial", math.nan),
    "a dial out of range": ("dial", 1e6),
    "a dial below zero": ("dial", -3.0),
    "an anchor of no rank": ("anchor.rank", 0),
    "an anchor of a rank below zero": ("anchor.rank", -1),
    "an anchor of too large a rank": ("anchor.rank", 99),
}


@pytest.mark.parametrize(("name", "value"), NUMBERS.values(), ids=NUMBERS)
def test_a_bundle_with_a_number_that_means_nothing_is_refused(
    refused, capitals, tmp_path, rows_csv, place, name, value
):
    folder = resealed(capitals, **with_value(name, value))
    for command in asked(folder, tmp_path, rows_csv).values():
        assert name in refused(*command)


@pytest.mark.parametrize("name", ["answerer", "dial"])
def test_a_bundle_that_lacks_a_number_is_refused(refused, capitals, tmp_path, rows_csv, place, name):
    folder = resealed(capitals, weights=lambda tensors: {key: tensors[key] for key in tensors if key != name})
    for command in asked(folder, tmp_path, rows_csv).values():
        assert name in refused(*command)


# --- flags -------------------------------------------------------------------------------------------------

FLAGS = {
    "more tokens than the context": (["--max-new-tokens", CONTEXT + 1], "leave no room"),
    "as many tokens as the context": (["--max-new-tokens", CONTEXT], "leave no room"),
    "more tokens than anybody has": (["--max-new-tokens", 100_000], "--max-new-tokens"),
    "no token": (["--max-new-tokens", 0], "--max-new-tokens"),
    "a cold below zero": (["--temperature", -0.1], "--temperature"),
    "an endless temperature": (["--temperature", "inf"], "--temperature"),
    "a dial that is no number": (["--dial", "nan"], "got nan"),
    "an endless dial": (["--dial", "inf"], "got inf"),
    "a dial below zero": (["--dial", -1], "got -1"),
}


@pytest.mark.parametrize(("flags", "part"), FLAGS.values(), ids=FLAGS)
def test_a_flag_that_cannot_be_is_refused(refused, capitals, tmp_path, flags, part):
    for texts in (["say ten"], ["a", "b"], ["a", "--output", tmp_path / "answers.csv"]):
        assert part in refused("predict", capitals, *texts, *flags)


@pytest.mark.parametrize("texts", [["say ten"], ["a", "b"]], ids=["one", "two"])
def test_a_temperature_that_is_no_number_is_refused(refused, capitals, texts):
    assert "nan" in refused("predict", capitals, *texts, "--temperature", "nan")


def test_as_many_tokens_as_the_sentence_says_can_be_had(sartor, refused, capitals):
    sentence = refused("predict", capitals, "say ten", "--max-new-tokens", CONTEXT)
    most = int(sentence.split("Ask for ")[1].split()[0])
    assert sartor("predict", capitals, "say ten", "--max-new-tokens", most).code == 0


# --- evaluate ----------------------------------------------------------------------------------------------


def test_evaluate_refuses_rows_without_answers(refused, capitals, tmp_path):
    data = write_csv(tmp_path / "new.csv", [(text,) for text, _ in ROWS], ["input"])
    assert "no label column" in refused("evaluate", capitals, "--data", data, "--html", tmp_path / "page.html")
    data = write_csv(tmp_path / "new.csv", [(text, "") for text, _ in ROWS], COLUMNS)
    assert "None of the 7 rows" in refused("evaluate", capitals, "--data", data, "--html", tmp_path / "page.html")


def test_evaluate_leaves_rows_without_answers_out(sartor, capitals, tmp_path):
    data = write_csv(tmp_path / "test.csv", [*ROWS[:3], ("say it", ""), ("say so", "")], COLUMNS)
    found = sartor("evaluate", capitals, "--data", data, "--json").json
    assert found["written"]["scores"]["n"] == 3
    assert warned(found, "2 rows", "left out")
    assert not found["proved"]


# --- export ------------------------------------------------------------------------------------------------


def test_an_export_overwrites_nothing(refused, capitals, place):
    (place / "file").write_text("mine")
    (place / "folder").mkdir()
    (place / "folder" / "file").write_text("mine")
    (place / "link").symlink_to(place / "nowhere")
    for form in FORMS:
        for name in ("file", "folder", "link"):
            assert "exists already" in refused("export", capitals, "--format", *form, "--out", place / name)
    assert os.readlink(place / "link") == str(place / "nowhere")


def test_an_export_below_a_file_is_refused(refused, capitals, place):
    (place / "file").write_text("mine")
    for form in FORMS:
        assert str(place / "file") in refused("export", capitals, "--format", *form, "--out", place / "file" / "out")


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_a_full_disk_stops_an_export_with_a_sentence(tiny, capitals, tmp_path, place, form):
    command = ["export", capitals, "--format", *form, "--out", place / "out"]
    ran = forked(tmp_path, command, limited_to(1000))
    assert ran.code == 2, ran
    assert ran.err.startswith("Error: Cannot ")
    assert "Traceback" not in ran.err
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("form", FORMS, ids=" ".join)
def test_an_export_to_a_folder_that_may_not_be_written_is_refused(tiny, once, tmp_path, monkeypatch, form):
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to other users
        ground = Path(name)
        shutil.copytree(once, ground / "capitals")
        shutil.copytree(settings.current().cache, ground / "cache")
        closed = ground / "closed"
        closed.mkdir()
        for path in (ground, *ground.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        closed.chmod(0o555)
        monkeypatch.setenv("SARTOR_CACHE", str(ground / "cache"))
        settings.current.cache_clear()
        command = ["export", ground / "capitals", "--format", *form, "--out", closed / "out"]
        ran = forked(tmp_path, command, give_up_rights)
        assert ran.code == 2, ran
        assert "ermission" in ran.err
        assert "Traceback" not in ran.err
        assert list(closed.iterdir()) == []


def test_an_interrupted_export_leaves_nothing(sartor, capitals, tmp_path, place):
    for form in FORMS:
        command = ["export", capitals, "--format", *form, "--out", place / "out"]
        ran = forked(tmp_path, command, signals_at(disk, "place", 1, signal.SIGINT))
        assert ran.code == 130, ran
        assert list(place.iterdir()) == []
    assert sartor(*command).code == 0
    assert os.listdir(place) == ["out"]


# --- interrupts and full disks -----------------------------------------------------------------------------

STAGES = {
    # stage: whose function begins it, and the call that counts
    "load": (TextGeneration, "base", 1),
    "generate": (TextGeneration, "generate", 1),
    "evaluate": (TextGeneration, "losses", 2),
    "answer": (TextGeneration, "answer", 3),
    "measure": (pipeline, "measure", 1),
    "store": (disk, "place", 1),
    "gate": (pipeline, "release", 1),
    "copy": (disk, "place", 2),
}
STORED = {"gate", "copy"}
"""Stages at which the store holds the model already."""


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_leaves_nothing_half_written(tiny, quick, rows_csv, tmp_path, place, stage):
    command = ["generate", TASK, "--examples", rows_csv, "--out", place / "out"]
    ran = forked(tmp_path, command, signals_at(*STAGES[stage], signal.SIGINT))
    assert ran.code == 130, ran
    assert ran.out == ""
    assert "Interrupted" in ran.err
    assert "Traceback" not in ran.err
    assert list(place.iterdir()) == []
    store = Store(settings.current().home)
    assert_whole(store)
    assert len(store.list()) == (stage in STORED)
    assert not store.home.exists() or os.listdir(store.home / "tmp") == []


@pytest.mark.parametrize("stage", ["answer", "store", "copy"])
def test_after_a_kill_the_next_generate_works_and_clears_up(sartor, rows_csv, tmp_path, place, stage):
    command = ["generate", TASK, "--examples", rows_csv, "--out", place / "out"]
    ran = forked(tmp_path, command, signals_at(*STAGES[stage], signal.SIGKILL))
    assert ran.code == -signal.SIGKILL, ran
    store = Store(settings.current().home)
    assert_whole(store)
    assert len(store.list()) == (stage in STORED)
    assert sartor(*command).code == 0
    assert_whole(store)
    assert os.listdir(place) == ["out"]
    assert os.listdir(store.home / "tmp") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_predict_leaves_the_old_answers(sartor, capitals, tmp_path, place, number, monkeypatch):
    monkeypatch.setattr(sys.modules["sartor.cli.predict"], "_CHUNK", 3)
    source = write_csv(tmp_path / "new.csv", ROWS, COLUMNS)
    answers = place / "answers.csv"
    answers.write_text("the old ones")
    command = ["predict", capitals, "--input", source, "--output", answers, "--max-new-tokens", 3]
    ran = forked(tmp_path, command, signals_at(Writer, "predict", 2, number))
    assert ran.code == (130 if number == signal.SIGINT else -number), ran
    assert answers.read_text() == "the old ones"
    if number == signal.SIGINT:
        assert os.listdir(place) == ["answers.csv"]
    assert sartor(*command).code == 0
    assert answers.read_text(encoding="utf-8-sig").startswith("input,output")


def test_an_answer_that_is_interrupted_as_it_is_shown_ends_with_130(tiny, capitals, tmp_path):
    ran = forked(tmp_path, ["predict", capitals, "say ten"], signals_at(Decoder, "logits", 4, signal.SIGINT))
    assert ran.code == 130, ran
    assert "Interrupted" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("size", [500, 1500])
def test_a_full_disk_stops_generate_with_a_sentence(tiny, quick, rows_csv, tmp_path, place, size):
    command = ["generate", TASK, "--examples", rows_csv, "--out", place / "out"]
    ran = forked(tmp_path, command, limited_to(size))
    assert ran.code == 2, ran
    assert ran.err.startswith("Error: Cannot ")
    assert "Traceback" not in ran.err
    assert list(place.iterdir()) == []
    store = Store(settings.current().home)
    assert store.list() == []
    assert os.listdir(store.home / "tmp") == []


def test_a_full_disk_stops_predict_with_a_sentence(tiny, capitals, tmp_path, place):
    source = write_csv(tmp_path / "new.csv", [(f"say {number}", "") for number in range(40)], COLUMNS)
    answers = place / "answers.jsonl"
    answers.write_text("the old ones")
    command = ["predict", capitals, "--input", source, "--output", answers, "--max-new-tokens", 3]
    ran = forked(tmp_path, command, limited_to(500))
    assert ran.code == 2, ran
    assert ran.err.startswith("Error: Cannot write")
    assert answers.read_text() == "the old ones"
    assert os.listdir(place) == ["answers.jsonl"]
