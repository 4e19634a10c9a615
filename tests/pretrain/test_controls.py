from dataclasses import replace

import pytest

import tiny_tasks
from sartor.errors import AssetError, DataError, StorageError
from sartor.pretrain import controls
from sartor.pretrain.arms import Harm, Judged, Plan, TaskFound
from sartor.types import Metric
from tiny_tasks import TASKS, TinySource, own_folder, task

PLAN = Plan(arms=("base", "anchor", "examples", "other"), rows=2, answered=1, unrelated=1)


def found(name, *, seed=0, group=None, harm=(), **losses):
    arms = tuple(Judged(arm, loss, 1 - loss, 2.0 if arm == "examples" else None) for arm, loss in losses.items())
    return TaskFound(name, group or name, seed, arms, {"norm anchor": 1.0}, tuple(harm))


def summed(*several, plan=PLAN):
    return controls.summed_up(several, plan, family="f", base="b", generator="g", seeds=(0, 1))


# --- jobs


def test_every_seed_of_a_task_is_a_job_of_its_own_rows():
    tasks = [task(f"{group}{at}", str.upper, group) for group in "abc" for at in range(2)]
    todo = controls.jobs(tasks, 4, seeds=(0, 7), unrelated=9)
    assert [(job.task.name, job.seed) for job in todo] == [(n, s) for n in ("a0", "b0", "c0", "a1") for s in (0, 7)]
    assert todo[0].task == tasks[0]
    assert todo[1].task.train != tasks[0].train
    for job in todo:
        assert job.other.group != job.task.group
        groups = [one.group for one in job.unrelated]
        assert job.task.group not in groups
        assert len(groups) == len(set(groups)) == 2
    assert len(controls.jobs(tasks, 2, seeds=(0,), unrelated=0)[0].unrelated) == 0


# --- the work


@pytest.mark.slow
def test_processes_find_what_one_process_finds():
    plan = replace(PLAN, arms=("base", "examples"))
    todo = controls.jobs(TASKS, None, seeds=(0,), unrelated=1)
    told = []
    here = list(controls.judged(TinySource(TASKS), todo, plan, progress=lambda *how: told.append(how)))
    assert told[-1] == ("tasks", 2, 2)
    there = list(controls.judged(TinySource(TASKS), todo, plan, workers=2))
    for one, other in zip(here, there, strict=True):
        assert one.task == other.task
        for ours, theirs in zip(one.arms, other.arms, strict=True):
            assert replace(ours, seconds=None) == replace(theirs, seconds=None)
        assert (one.harm, one.likeness) == (other.harm, other.likeness)


def test_a_generator_that_is_none_is_refused(tmp_path):
    model = tiny_tasks.bench(()).model
    with pytest.raises(StorageError, match="No such file"):
        controls.read_generator(tmp_path / "none", model)
    (tmp_path / "junk").write_bytes(b"junk" * 100)
    with pytest.raises(AssetError, match="no generator for"):
        controls.read_generator(tmp_path / "junk", model)


# --- tasks


def test_a_users_tasks_are_all_judged(tmp_path):
    tasks = controls.load_tasks(own_folder(tmp_path))
    assert [one.name for one in tasks.judged] == ["task0", "task1", "task2"]
    assert tasks.learned
    assert all(len(one.train) <= 16 for one in tasks.learned)
    assert [note.topic for note in tasks.notes] == ["own tasks"]


def test_one_task_is_too_few_and_what_was_left_out_is_said(tmp_path):
    own_folder(tmp_path / "one", tasks=1)
    own_folder(tmp_path / "more", tasks=1, rows=4)
    (tmp_path / "more" / "task0").rename(tmp_path / "one" / "few")
    with pytest.raises(DataError, match=r"1 tasks in 1 groups .* few was left out"):
        controls.load_tasks(tmp_path / "one")


@pytest.mark.parametrize("index", [b"task,family\nx,y\n", b"\xff\xfe\xff"])
def test_a_broken_folder_of_public_tasks_is_refused(tmp_path, index):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "INDEX.csv").write_bytes(index)
    with pytest.raises(DataError, match="cannot be read as a folder of public tasks"):
        controls.load_tasks(tmp_path)


def test_what_was_learned_from_is_judged_only_if_asked_for_and_then_with_a_warning(monkeypatch, tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "INDEX.csv").write_text("")
    parts = [[task(f"{part}{at}", str.upper) for at in range(3)] for part in ("train", "validation", "held")]
    split = controls.instructions.Split(*map(tuple, parts))
    monkeypatch.setattr(controls.instructions, "load", lambda data, held_out: split)
    held = controls.load_tasks(tmp_path)
    assert [one.name for one in held.judged] == ["held0", "held1", "held2"]
    assert [one.name for one in held.learned] == ["train0", "train1", "train2"]
    assert [note.level for note in held.notes] == ["info"]
    every = controls.load_tasks(tmp_path, learned_too=True)
    assert len(every.judged) == 9
    assert [note.level for note in every.notes] == ["warning"]
    assert "saw 3 of the 9 tasks" in every.notes[0].text


# --- sums


def test_means_are_over_seeds_then_tasks_then_groups():
    some = [
        found("a", examples=0.2, anchor=0.4),
        found("a", seed=1, examples=0.4, anchor=0.4),
        found("b", group="bc", examples=0.1, anchor=0.9),
        found("c", group="bc", examples=0.3, anchor=0.9),
    ]
    result = summed(*some)
    assert (result.tasks, result.groups) == (3, 2)
    ours, anchor = result.arms
    assert ours.loss.value == pytest.approx((0.3 + 0.2) / 2)
    assert anchor.loss_difference.value == pytest.approx((0.1 + 0.7) / 2)
    assert anchor.exact_match_difference.value == pytest.approx((0.1 + 0.7) / 2)
    assert (ours.loss_difference, ours.seconds, anchor.seconds) == (None, 2.0, None)


def test_an_arm_that_some_tasks_lack_is_compared_where_it_is():
    result = summed(found("a", examples=0.2, paraphrase=0.4), found("b", examples=0.9))
    paraphrase = result.arms[1]
    assert paraphrase.tasks == 1
    assert paraphrase.loss_difference.value == pytest.approx(0.2)


def test_a_description_is_compared_with_gibberish():
    some = [found(name, examples=0.1, description=0.3, gibberish=0.8) for name in "ab"]
    [pair] = summed(*some).pairs
    assert (pair.arm, pair.against) == ("description", "gibberish")
    assert pair.loss.value == pair.exact_match.value == pytest.approx(0.5)


def test_what_is_lost_on_prompts_of_other_tasks_is_summed_up():
    harm = [Harm("examples", "told", 0.5, 0.25, 0.0, 0.5, 0.4), Harm("examples", "shown", 1.5, 0.5, 0.75, 1, 1)]
    told, shown = summed(found("a", examples=0.1, harm=harm), found("b", examples=0.1, harm=harm)).unrelated
    assert told.change == Metric(-0.25, -0.25, -0.25)
    assert shown.change.value == 0.25
    assert told.tokens_change.value == pytest.approx(-0.1)
    assert (told.kl.value, told.before.value, shown.after.value) == (0.5, 0.25, 0.75)


def test_every_arm_has_a_title():
    assert len({controls.title(arm) for arm in (*controls.arms.ARMS, "lora 10")}) == len(controls.arms.ARMS) + 1


def test_harm_is_told_as_what_can_be_lost():
    from sartor.cli.controls import verdicts

    lossy = [Harm("examples", "told", 0.5, 0.25, 0.2, 0.5, 0.4), Harm("examples", "shown", 0.5, 0, 0.1, 0.5, 0.5)]
    first, second = verdicts(summed(found("a", examples=0.1, harm=lossy), found("b", examples=0.1, harm=lossy)))
    assert "exact answers by -5.0 points and its right tokens by -10.0: beyond the 2" in first
    assert "by +10.0 points and its right tokens by +0.0: within the 2" in second
    assert "next to none of them exactly" in second
