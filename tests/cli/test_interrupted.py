"""Interrupts, kills, full disks and races, for real, in processes of their own."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from cli_helpers import ROUTE, forked, snapshot

from sartor import pipeline, settings
from sartor.families.text_classification import TextClassification
from sartor.model import Classifier
from sartor.registry import bundle, disk
from sartor.registry.store import Store

STAGES = {
    # stage: whose function begins it, and the call that counts
    "load": (TextClassification, "base", 1),
    "encode": (TextClassification, "encode", 1),
    "generate": (TextClassification, "generate", 1),
    "evaluate": (TextClassification, "generate", 3),
    "measure": (pipeline, "measure", 1),
    "store": (disk, "place", 1),
    "gate": (pipeline, "release", 1),
    "copy": (disk, "place", 2),
}
STORED = {"gate", "copy"}
"""Stages at which the store holds the model already."""


def signals_at(owner, name, call, number):
    """Return what makes this process send itself a signal at a call of ``owner.name``."""

    def arrange():
        real, calls = getattr(owner, name), []

        def signalled(*arguments, **options):
            calls.append(name)
            if len(calls) == call:
                os.kill(os.getpid(), number)
            return real(*arguments, **options)

        setattr(owner, name, signalled)

    return arrange


def assert_whole(store):
    """Every entry is a sound bundle, and the log fits."""
    for entry in store.list():
        assert bundle.read(entry.path).manifest.id == entry.id
    store.verify_chain()


@pytest.fixture
def place(tmp_path):
    """A folder of the test's own, in which nothing may be left behind."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupt_leaves_nothing_half_written(sartor, mails_csv, tmp_path, place, stage):
    store = Store(settings.current().home)
    command = ["generate", ROUTE, "--examples", mails_csv, "--out", place / "out"]
    ran = forked(tmp_path, command, signals_at(*STAGES[stage], signal.SIGINT))
    assert ran.code == 130, ran
    assert "Traceback" not in ran.err
    assert "Interrupted" in ran.err
    assert ran.out == ""
    assert list(place.iterdir()) == []
    assert len(store.list()) == (stage in STORED)
    assert_whole(store)
    if store.home.exists():
        assert os.listdir(store.home / "tmp") == []
    ran = sartor(*command)
    assert ran.code == 0, ran.err
    assert_whole(store)


@pytest.mark.parametrize("stage", ["evaluate", "store", "gate", "copy"])
def test_after_a_kill_the_next_generate_works_and_clears_up(sartor, mails_csv, tmp_path, place, stage):
    command = ["generate", ROUTE, "--examples", mails_csv, "--out", place / "out"]
    ran = forked(tmp_path, command, signals_at(*STAGES[stage], signal.SIGKILL))
    assert ran.code == -signal.SIGKILL, ran
    store = Store(settings.current().home)
    assert_whole(store)
    ran = sartor(*command)
    assert ran.code == 0, ran.err
    assert os.listdir(place) == ["out"]
    assert os.listdir(store.home / "tmp") == []
    assert_whole(store)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_predict_leaves_the_old_answers(sartor, made, mails_csv, tmp_path, place, number, monkeypatch):
    monkeypatch.setattr(sys.modules["sartor.cli.predict"], "_CHUNK", 3)
    answers = place / "answers.csv"
    answers.write_text("the old ones")
    command = ["predict", "mails", "--input", mails_csv, "--output", answers]
    ran = forked(tmp_path, command, signals_at(Classifier, "answer", 3, number))
    assert ran.code == (130 if number == signal.SIGINT else -number), ran
    assert answers.read_text() == "the old ones"
    if number == signal.SIGINT:
        assert os.listdir(place) == ["answers.csv"]
    assert sartor(*command).code == 0
    assert answers.read_text(encoding="utf-8-sig").startswith("text,label")


def test_an_interrupt_of_a_fresh_process_ends_it_with_130(child, mails_csv):
    process = child("generate", ROUTE, "--examples", mails_csv)
    store = Store(settings.current().home)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (store.home / "tmp").exists():  # the store is made when it is first written
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (130, 0), err
    assert "Traceback" not in err
    assert_whole(store)
    assert process.returncode == 130 or len(store.list()) == 1


def test_a_reader_who_leaves_early_is_no_error(child):
    process = child("families")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


# --- full disks --------------------------------------------------------------------------------------------


def limited_to(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_limit_on_file_sizes_stops_generate_with_a_sentence(sartor, made, mails_csv, tmp_path, place):
    before = snapshot(settings.current().home / "models")
    # a seed of its own, so that it is no model the store holds
    command = ["generate", ROUTE, "--examples", mails_csv, "--out", place / "out", "--seed", 9]
    ran = forked(tmp_path, command, limited_to(20_000))
    assert ran.code == 2, ran
    assert ran.err.startswith("Error: Cannot ")
    assert "Traceback" not in ran.err
    assert list(place.iterdir()) == []
    assert snapshot(settings.current().home / "models") == before
    assert os.listdir(settings.current().home / "tmp") == []


def test_a_limit_on_file_sizes_stops_predict_with_a_sentence(made, mails_csv, tmp_path, place):
    command = ["predict", "mails", "--input", mails_csv, "--output", place / "answers.jsonl"]
    ran = forked(tmp_path, command, limited_to(500))
    assert ran.code == 2, ran
    assert ran.err.startswith("Error: Cannot write")
    assert list(place.iterdir()) == []


@pytest.fixture
def small_disk(place):
    """The words before a command that give it a disk of 8 KB at ``place``; it lists what is left there."""
    mount = ("unshare", "--mount", "--map-root-user", "sh", "-c")
    words = f'mount -t tmpfs -o size=8k tmpfs "{place}" && "$0" "$@"; code=$?; ls -A "{place}"; exit $code'
    if not shutil.which("unshare") or subprocess.run([*mount, words, "true"], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a tmpfs of their own")
    return (*mount, words)


@pytest.mark.slow
def test_a_full_disk_stops_generate_with_a_sentence(child, small_disk, mails_csv, place):
    process = child("generate", ROUTE, "--examples", mails_csv, "--out", place / "out", before=small_disk)
    left, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "no space is left on that disk" in err
    assert left == ""


def test_a_full_disk_stops_predict_with_a_sentence(child, small_disk, made, tmp_path, place):
    source = tmp_path / "many.csv"
    source.write_text("text\n" + "refund my money\n" * 500)
    process = child("predict", "mails", "--input", source, "--output", place / "a.csv", before=small_disk)
    left, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert "No space left on device" in err
    assert left == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["models"], ["families"], ["families", "--json"]])
def test_a_full_disk_behind_stdout_is_a_sentence(tiny, tmp_path, arguments):
    def full():
        sys.stdout = open("/dev/full", "w")  # noqa: SIM115 the process ends with it

    ran = forked(tmp_path, arguments, full)
    assert ran.code == 2, ran
    assert ran.err.startswith("Error: Cannot print the result: No space left on device.")


# --- races -------------------------------------------------------------------------------------------------


def test_generates_at_once_all_end_in_the_store(tiny, quick, mails_csv, tmp_path):
    command = ["generate", ROUTE, "--examples", mails_csv, "--name", "mails", "--json"]
    ended = {}

    def run(seed):
        folder = tmp_path / f"run{seed}"
        folder.mkdir()
        ended[seed] = forked(folder, [*command, "--seed", seed, "--out", folder / "out"])

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = Store(settings.current().home)
    assert_whole(store)
    assert [(entry.name, entry.version) for entry in store.list()] == [("mails", n) for n in (1, 2, 3, 4)]
    assert "champion" in store.aliases("mails")
    assert [ran.code for ran in ended.values()] == [0] * 4, ended
    assert {ran.json["id"] for ran in ended.values()} == {entry.id for entry in store.list()}
