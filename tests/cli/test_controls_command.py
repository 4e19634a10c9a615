"""``sartor controls`` on a user's own tasks, with the tiny language model."""

import re
import signal
import tempfile

import pytest
from cli_helpers import forked, snapshot
from test_contract_page import documented
from test_interrupted import signals_at

from sartor import settings
from sartor.families.interface import Writing
from sartor.pretrain import arms, instructions
from tiny_tasks import TASKS, own_folder, write_task

FEW = ("--rows", "2", "--answered", "1", "--unrelated", "1")


@pytest.fixture
def data(tmp_path):
    return own_folder(tmp_path / "tasks")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Programs that were learned from take seconds to make, and here they do not matter; nor do long answers."""
    real, few = instructions.load, instructions.Split(TASKS, (), ())

    def load(data, *, held_out=0, dial=None):
        return few if held_out == 0 else real(data, held_out=held_out, dial=dial)

    monkeypatch.setattr(instructions, "load", load)
    monkeypatch.setattr(arms, "WRITING", Writing(max_new_tokens=2))


def test_the_table_has_every_control_and_says_what_it_means(sartor, tiny, data):
    before = snapshot(data)
    ran = sartor("controls", "text-generation", "--data", data, *FEW, "--lora-steps", "2")
    assert ran.code == 0, ran.err
    for title in ("the plain base", "… told what to do", "(the anchor)", "mean of what is generated", "gibberish"):
        assert title in ran.out
    assert "the anchor trained on the rows, 2 steps" in ran.out
    assert "3 tasks in 3 groups" in ran.out
    assert "KL (nats)" in ran.out
    assert re.search(r"exact answers by .* points .* may be lost", ran.out)
    assert re.search(r"By nats, .* better than", ran.out)
    assert snapshot(data) == before
    assert not tiny.exists()  # nothing is stored


def test_json_has_the_documented_keys_and_follows_the_seed(sartor, data):
    def run(*more):
        ran = sartor("controls", "text-generation", "--data", data, *FEW, "--most", "2", "--json", *more)
        assert ran.code == 0, ran.err
        return ran.json

    found = run()
    assert list(found) == documented("controls")
    assert (found["tasks"], found["seeds"]) == (2, [0])
    assert {one["name"] for one in found["arms"]} == {*arms.ARMS} - {"paraphrase"}  # there is one wording
    assert [one["change"].keys() for one in found["unrelated"]] == [{"value", "low", "high"}] * 6

    def losses(one):
        return [arm["loss"] for arm in one["arms"]]

    drawn = run("--seed", "1", "--seeds", "2")
    assert drawn["seeds"] == [1, 2]
    assert len(drawn["found"]) == 4
    assert losses(found) == losses(run()) != losses(drawn)


REFUSED = {
    "no such family": (["text-generatoin"], "Did you mean 'text-generation'?"),
    "a family without controls": (["text-classification"], "python -m benchmarks.controls"),
    "no such folder": (["text-generation", "--data", "nowhere"], "There is no folder 'nowhere'"),
    "one task": (["text-generation", "--most", "1"], "1 is not in the range x>=2"),
    "no steps": (["text-generation", "--lora-steps", "10,x"], "'10,x' is no list of numbers of steps"),
    "zero steps": (["text-generation", "--lora-steps", "0"], "is no list of numbers of steps"),
    "no such generator": (["text-generation", "--generator", "none.safetensors"], "does not exist"),
    "no such fold": (["text-generation", "--fold", "9"], "There is no fold 9; give one from 0 to 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_a_sentence(sartor, tiny, data, case):
    command, sentence = REFUSED[case]
    ran = sartor("controls", *command, *([] if "--data" in command else ["--data", data]))
    assert ran.code == 2
    assert sentence in ran.err
    assert ran.out == ""
    assert not tiny.exists()


def test_without_data_it_asks_for_it(sartor):
    ran = sartor("controls", "text-generation", "--json")
    assert ran.code == 2
    assert "--data" in ran.json["error"]["message"]


def test_a_folder_with_one_task_or_none_is_refused(sartor, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no tasks" in sartor("controls", "text-generation", "--data", tmp_path / "empty").err
    one = own_folder(tmp_path / "one", tasks=1)
    ran = sartor("controls", "text-generation", "--data", one)
    assert (ran.code, ran.out) == (2, "")
    assert "at least 2 of different groups are needed" in ran.err
    write_task(one / "bare", description="Shout")
    assert "'bare' has no rows" in sartor("controls", "text-generation", "--data", one).err


def test_a_generator_file_that_is_none_is_refused(sartor, data, tmp_path):
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"junk" * 100)
    ran = sartor("controls", "text-generation", "--data", data, "--generator", junk)
    assert ran.code == 2
    assert "is no generator for" in ran.err


def test_the_shipped_generator_in_a_file_finds_the_same(sartor, data):
    [file] = settings.current().cache.rglob("generator.safetensors")
    command = ["controls", "text-generation", "--data", data, "--most", "2", *FEW, "--json"]
    shipped, given = sartor(*command).json, sartor(*command, "--generator", file).json
    assert (shipped["generator"], given["generator"]) == ("shipped", "generator.safetensors")
    assert [arm["loss"] for arm in shipped["arms"]] == [arm["loss"] for arm in given["arms"]]


def test_an_interrupt_leaves_nothing(sartor, tiny, data, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = snapshot(data)
    command = ["controls", "text-generation", "--data", data, *FEW, "--lora-steps", "2"]
    ran = forked(tmp_path, command, signals_at(arms.run, "descend", 2, signal.SIGINT))
    assert ran.code == 130, ran
    assert ran.out == ""
    assert "Traceback" not in ran.err
    assert snapshot(data) == before
    assert list(scratch.iterdir()) == []
    assert not tiny.exists()
