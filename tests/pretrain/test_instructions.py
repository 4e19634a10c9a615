import csv
import io
import json
import lzma
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from sartor.errors import DataError
from sartor.pretrain import instructions, public, transforms
from sartor.pretrain.instructions import Chances, Dial, InstructionMixture, InstructionTask, load, part_of, split
from sartor.pretrain.mixture import fingerprint
from sartor.types import Example

SMALL = Dial(rows=40, tests=30)
FOLDS = range(public.FOLDS)
PARTS = ("train", "validation", "held_out")


@pytest.fixture(scope="module")
def splits():
    return [load(None, held_out=fold, dial=SMALL) for fold in FOLDS]


def group(part, fold=0):
    """Return the name of a public group that is in a part of the split."""
    return next(name for name in (f"group {at}" for at in range(99)) if part_of(name, fold) == part)


def task(name, group, texts, told=("say it", "tell it", "name it"), pool=None):
    rows = tuple(Example(text, f"{name} {text}") for text in texts)
    return InstructionTask(name, group, "sni", tuple(told), rows[: len(rows) // 2], rows[len(rows) // 2 :], "x", pool)


def named(name, n=80):
    return [f"{name} {at}" for at in range(n)]


def rows_of(tasks):
    return {fingerprint(row.input) for task in tasks for row in (*task.train, *task.test)}


def told_of(tasks):
    return {fingerprint(text) for task in tasks for text in (*task.descriptions, *task.unseen)}


# --- the split


@pytest.mark.parametrize("fold", FOLDS)
def test_no_group_no_row_and_no_description_of_hidden_transforms_is_learned_from(splits, fold):
    found = splits[fold]
    for one, other in (("train", "validation"), ("train", "held_out"), ("validation", "held_out")):
        here, there = getattr(found, one), getattr(found, other)
        assert here
        assert there
        assert not {task.group for task in here} & {task.group for task in there}
        assert not rows_of(here) & rows_of(there)
        assert not told_of(here) & told_of(there)
    assert len({task.family for task in found.held_out}) >= 5
    assert len({task.family for task in found.validation}) >= 3
    assert len(found.held_out) >= 60
    assert len({task.family for task in found.train}) >= 15


def test_every_family_is_held_out_or_watched_in_one_fold_alone(splits):
    hidden = [{task.family for task in (*found.validation, *found.held_out)} for found in splits]
    assert set.union(*hidden) == {task.family for task in transforms.transforms()}
    assert sum(map(len, hidden)) == len(set.union(*hidden))


@pytest.mark.parametrize("fold", FOLDS)
def test_a_composition_is_not_learned_from_if_a_step_is_hidden(splits, fold):
    steps = {task.name: task.parts for task in transforms.transforms()}
    learned = {task.family for task in splits[fold].train}
    for task in splits[fold].train:
        assert set(steps[task.name]) <= learned


def test_every_transform_keeps_rows_on_all_sides(splits):
    for part in PARTS:
        for task in getattr(splits[0], part):
            assert len(task.train) == 40, task.name
            assert len(task.test) == 30, task.name
            assert all(transforms.is_test(row.input) for row in task.test)
            assert not any(transforms.is_test(row.input) for row in task.train)


def test_public_groups_are_where_classification_has_them():
    for name in map(str, range(60)):
        for fold in FOLDS:
            hidden = "held out" if public.side(name) == "report" else "validation"
            assert part_of(name, fold) == (hidden if public.fold(name) == fold else "train")
    assert {part_of(name, 0) for name in public.PUBLIC} == {"held out"}


def test_public_tasks_that_ask_for_what_transforms_ask_for_go_with_them():
    families = {task.family for task in transforms.transforms()}
    for kin, found in instructions.KIN.items():
        assert set(found) <= families
        for fold in FOLDS:
            parts = {part_of(f"transform {family}", fold) for family in found}
            assert part_of(kin, fold) == (parts.pop() if len(parts) == 1 else None)
    parted = next((kin, fold) for kin in instructions.KIN for fold in FOLDS if part_of(kin, fold) is None)
    assert split([task("left out", parted[0], named("a"))], parted[1]) == instructions.Split((), (), ())


def test_copies_of_hidden_rows_and_descriptions_are_taken_off():
    texts, copies = named("learned"), ["A  Hidden text", "one more", "of the test"]
    hidden = [task("hidden", group("held out"), ["a hidden TEXT", *named("h"), "of the test"], ["hide it", "b", "c"])]
    watched = [task("watched", group("validation"), ["one more", *named("w")], ["watch it", "e", "f"])]
    learned = [task("seen", group("train"), [*copies, *texts, *copies], ["Hide  it", "watch it", "g", "h", "i"])]
    found = split([*hidden, *watched, *learned], 0)
    assert [task.name for task in (*found.train, *found.validation, *found.held_out)] == ["seen", "watched", "hidden"]
    assert {row.input for row in (*found.train[0].train, *found.train[0].test)} == set(texts)
    assert {*found.train[0].descriptions, *found.train[0].unseen} == {"g", "h", "i"}
    assert len(found.held_out[0].train) + len(found.held_out[0].test) == 82


def test_what_is_tested_is_not_learned_from_in_the_same_task():
    found = split([task("t", group("train"), [*named("a"), "A 0", *named("b")])], 0)
    train, test = ({fingerprint(row.input) for row in part} for part in (found.train[0].train, found.train[0].test))
    assert not train & test


def test_unseen_wordings_are_learned_from_in_no_task(splits):
    same = [task(f"t{at}", group("train"), named(f"t{at}"), ["a", "b", "c", "d"]) for at in range(2)]
    for found in (splits[0].train, split(same, 0).train):
        assert found
        unseen = {fingerprint(text) for task in found for text in task.unseen}
        assert all(task.unseen and task.descriptions for task in found)
        assert not unseen & {fingerprint(text) for task in found for text in task.descriptions}


def test_tasks_with_too_few_rows_are_left_out_and_so_are_those_without_words():
    few = [task("few", group("train"), named("f", 20)), task("mute", group("train"), named("m"), [])]
    assert split(few, 0).train == ()


def test_public_tasks_that_read_the_same_inputs_get_one_pool():
    place = group("train")
    one, other, lone = (task(name, place, named(text)) for name, text in (("a", "x"), ("b", "x"), ("c", "y")))
    pools = {task.name: task.pool for task in split([lone, other, one], 0).train}
    assert pools["a"] == pools["b"] is not None
    assert pools["c"] is None


def test_there_is_no_fold_beyond_the_last():
    with pytest.raises(DataError, match=r"no fold 3; give one from 0 to 2"):
        split([], 3)


# --- the data folder


def archive(folder, collection, tasks):
    with tarfile.open(folder / f"{collection}.tar.xz", "w:xz") as packed:
        for name, files in tasks.items():
            for file, content in files.items():
                member = tarfile.TarInfo(f"{collection}/{name}/{file}")
                raw = content.encode()
                member.size = len(raw)
                packed.addfile(member, io.BytesIO(raw))


def lines(rows):
    return "".join(json.dumps({"input": text, "output": answer}) + "\n" for text, answer in rows)


def data_folder(tmp_path):
    def about(description, **more):
        return json.dumps({"description": description, "labels": None} | more)

    def content(description, rows, **more):
        return {
            "task.json": about(description, **more),
            "train.jsonl": lines(rows[:40]),
            "test.jsonl": lines(rows[40:]),
        }

    rows = [(f"text {at}", f"answer {at}") for at in range(60)]
    spoilt = [("w " * 61, "a"), ("long", "w " * 25), ("none", " "), ("TEXT  0", "b"), *rows]
    folder = tmp_path / "text"
    folder.mkdir()
    sni = {"plain": content("In this task, you are given a text. Copy it.", spoilt), "told": content("Do it.", rows)}
    sni |= dict.fromkeys(("closed", "choice"), content("No.", rows))
    archive(folder, "sni", sni)
    archive(
        folder, "other", {"many": content("One.", rows, descriptions=["Two.", "Three."]), "code": content("", rows)}
    )
    fields = ("task", "family", "source_group", "language", "kind", "metric", "canary", "licence_flag")
    index = [
        ("plain", "sni", "g", "en", "short_generation", "exact_match", "", "unclear"),
        ("told", "sni", "g", "en", "classification", "accuracy", "", "ok"),
        ("closed", "sni", "g", "en", "classification", "accuracy", "", "non-commercial"),
        ("choice", "sni", "g", "en", "multiple_choice", "accuracy", "", "ok"),
        ("many", "other", "h", "en", "short_generation", "rouge_l", "", "ok"),
        ("code", "other", "h", "en", "short_generation", "pass@1", "", "ok"),
        ("canary", "third", "i", "en", "classification", "accuracy", "True", "ok"),
        ("japanese", "third", "i", "ja", "classification", "accuracy", "", "ok"),
    ]
    with (folder / "INDEX.csv").open("w", newline="") as file:
        csv.writer(file).writerows([fields, *index])
    with lzma.open(folder / "descriptions.jsonl.xz", "wt") as file:
        told = [{"our_task": name, "descriptions": ["Please.", "Now."]} for name in ("told", "many")]
        file.write("".join(json.dumps(line) + "\n" for line in told))
    return tmp_path


def test_what_is_read_of_a_data_folder(tmp_path):
    found = {task.name: task for task in instructions.public_tasks(data_folder(tmp_path), Dial())}
    assert set(found) == {"sni/plain", "sni/told", "other/many"}
    assert found["sni/told"].descriptions == ("Do it.", "Please.", "Now.")
    assert found["other/many"].descriptions == ("One.", "Two.", "Three.")
    assert {task.metric for task in found.values()} == {"exact_match", "accuracy", "rouge_l"}
    plain = found["sni/plain"]
    assert (plain.group, plain.family) == ("g", "sni")
    assert [row.input for row in plain.train] == ["TEXT  0", *(f"text {at}" for at in range(1, 36))]
    assert len(plain.descriptions) == len(set(plain.descriptions)) == 5
    assert "The input is a text. Copy it." in plain.descriptions


def test_public_tasks_and_transforms_are_split_together(tmp_path):
    found = load(data_folder(tmp_path), held_out=0, dial=SMALL)
    public_ones = {task.name: part for part in PARTS for task in getattr(found, part) if " " not in task.group}
    sides = {"train": "train", "validation": "validation", "held out": "held_out"}
    assert public_ones["sni/told"] == sides[part_of("g", 0)]
    assert any(task.group == "transform case" for task in (*found.train, *found.validation, *found.held_out))


# --- batches


@pytest.fixture(scope="module")
def batches(splits):
    lone = [task(f"lone {at}", f"g{at}", named(f"lone {at}")) for at in range(20)]
    mixture = InstructionMixture([*splits[0].train, *lone])
    random = np.random.default_rng(0)
    return [mixture.draw(random) for _ in range(300)]


def test_half_of_each_batch_and_more_reads_the_same_inputs(batches):
    for batch in batches:
        assert len(batch) == 8
        groups = {}
        for episode in batch:
            groups.setdefault(episode.shared, []).append(episode)
        assert len(groups.pop(None, [])) <= 4
        for members in groups.values():
            assert len(members) >= 2
            assert len({member.task.name for member in members}) == len(members)
            assert len({member.task.pool for member in members}) == 1
            assert len({tuple(row.input for row in member.queries) for member in members}) == 1
    sizes = {sum(episode.shared == 0 for episode in batch) for batch in batches}
    assert sizes == {2, 3, 4}


def test_no_query_stands_in_the_condition_and_all_rows_are_training_rows(batches):
    for episode in (episode for batch in batches for episode in batch):
        queries = [row.input for row in episode.queries]
        support = [row.input for row in episode.condition.support]
        assert len(set(queries)) == 4
        assert not set(queries) & {*support, *episode.condition.prompts}
        assert len(support) == len(set(support))
        assert {*episode.queries, *episode.condition.support} <= set(episode.task.train)
        assert episode.condition.description in (None, *episode.task.descriptions)
        assert episode.instruction in ("", *episode.task.descriptions)


def test_a_condition_has_what_its_modality_says(batches):
    numbers = set()
    for condition in (episode.condition for batch in batches for episode in batch):
        assert (condition.description is not None) is (condition.modality in ("description", "both"))
        assert bool(condition.support) is (condition.modality in ("examples", "both"))
        assert bool(condition.prompts) is (condition.modality == "prompts")
        numbers.add(len(condition.support))
        assert len(condition.prompts) <= 16
    assert numbers == set(range(17))


def test_how_often_what_is_drawn(batches):
    episodes = [episode for batch in batches for episode in batch]
    shares = [np.mean([one.condition.modality == kind for one in episodes]) for kind in instructions.MODALITIES]
    assert np.allclose(shares, (0.3, 0.3, 0.3, 0.1), atol=0.04)
    assert all(one.shared is None for one in episodes if one.condition.modality == "prompts")
    assert 0.6 < np.mean([one.instruction == "" for one in episodes]) < 0.7
    shortest = [one.instruction == min(one.task.descriptions, key=len) for one in episodes if one.instruction]
    assert 0.5 < np.mean(shortest) < 0.8


def test_the_same_generator_draws_the_same(splits):
    def drawn(seed):
        mixture = InstructionMixture(splits[0].train)
        random = np.random.default_rng(seed)
        return [mixture.draw(random, tasks=5, rows=2, support=3) for _ in range(5)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 16])
def test_a_batch_has_as_many_tasks_as_asked_for(splits, tasks):
    for share in (0.0, 0.5, 1.0):
        mixture = InstructionMixture(splits[0].train, Chances(same_input=share))
        batch = mixture.draw(np.random.default_rng(tasks), tasks=tasks, rows=3, support=2, prompts=1)
        assert len(batch) == tasks
        shared = sum(one.shared is not None for one in batch)
        assert shared >= (share * tasks if tasks > 1 and share < 1 else tasks - 1 if share else 0)
        assert {len(one.queries) for one in batch} == {3}


def test_without_shared_inputs_tasks_stand_alone():
    lone = [task(f"lone {at}", f"g{at}", named(f"lone {at}")) for at in range(3)]
    batch = InstructionMixture(lone).draw(np.random.default_rng(0))
    assert {one.shared for one in batch} == {None}


def test_a_pool_whose_tasks_have_no_input_in_common_is_said():
    apart = [task(name, "g", named(name), pool="p") for name in ("a", "b")]
    with pytest.raises(DataError, match="No two of the tasks have 8 inputs in common"):
        InstructionMixture(apart).draw(np.random.default_rng(0))
    together = [*apart, replace(apart[0], name="c")]
    batch = InstructionMixture(together).draw(np.random.default_rng(0))
    assert {one.task.name for one in batch if one.shared is not None} == {"a", "c"}


def test_no_task_at_all_is_said():
    with pytest.raises(DataError, match="no task to learn from"):
        InstructionMixture([])


def few_answers(name, *answers):
    rows = tuple(Example(f"{name} {at}", answers[at % len(answers)]) for at in range(40))
    return InstructionTask(name, name, "f", (f"say {name}", f"do {name}"), rows, (), "accuracy", None)


def test_answers_of_a_task_that_has_few_are_renamed_alike_in_condition_and_queries():
    tasks = [few_answers("a", "good", "bad"), few_answers("b", "red", "blue", "green")]
    mixture = InstructionMixture(tasks, Chances(same_input=0.0, modalities=(0, 0.5, 0.5, 0), renamed=1.0))
    random, words = np.random.default_rng(0), {"good", "bad", "red", "blue", "green"}
    changed = 0
    for _ in range(50):
        for episode in mixture.draw(random, tasks=2, rows=3, support=8):
            true = {row.input: row.output for row in episode.task.train}
            pairs = {(true[row.input], row.output) for row in (*episode.condition.support, *episode.queries)}
            assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})
            assert {new for _, new in pairs} <= words
            assert episode.condition.description is None
            assert episode.instruction == ""
            changed += any(old != new for old, new in pairs)
    assert changed > 50


def test_answers_that_are_many_or_long_keep_their_words():
    many = few_answers("a", *(f"answer {at}" for at in range(20)))
    long = few_answers("b", "this is what is said", "and this is another")
    once = few_answers("c", *["x"] * 39, "y")
    mixture = InstructionMixture([many, long, once], Chances(same_input=0.0, modalities=(0, 1, 0, 0), renamed=1.0))
    for episode in mixture.draw(np.random.default_rng(0), tasks=12):
        true = {row.input: row.output for row in episode.task.train}
        assert all(true[row.input] == row.output for row in (*episode.condition.support, *episode.queries))
