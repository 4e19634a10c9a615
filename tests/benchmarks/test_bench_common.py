import io
import json
import tarfile

import numpy as np
import pytest
from benchmarks.common import IndexRow
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import common
from sartor.nn import features
from sartor.nn.features import TextFeatures
from sartor.types import Example, Metric


def archive(path, files):
    with tarfile.open(path, "w:xz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content := text.encode())
            tar.addfile(member, io.BytesIO(content))


def encoded(texts):
    random = np.random.default_rng(0)
    words, characters = features.hash_ngrams(texts)
    pooled = random.normal(size=(len(texts), 5, 8)).astype(np.float32)
    return TextFeatures(pooled, words, characters, np.zeros(len(texts), np.bool_), tuple(texts))


def test_a_public_set_is_read_from_the_archive_by_folder_and_file(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    rows = 'text,label\n"one, two",a\n"a ""b""\nc",b\n'
    archive(tmp_path / "benchmarks" / "text.tar.xz", {"benchmarks/trec6/test.csv": rows})
    assert common.public_sets(tmp_path) == {
        "trec6": {"test": (Example("one, two", "a"), Example('a "b"\nc', "b"))},
    }


def test_only_a_line_feed_ends_a_row():
    line = json.dumps({"input": "one\u2028two\x0bthree", "output": "a"}, ensure_ascii=False)
    assert common.read_jsonl(f"{line}\n{line}\n".encode()) == (Example("one\u2028two\x0bthree", "a"),) * 2


def test_tasks_come_in_the_order_they_are_named(tmp_path):
    (tmp_path / "text").mkdir()
    files = {}
    for name in ("first", "second"):
        files[f"glue/{name}/task.json"] = json.dumps({"description": name, "labels": ["x", "y"]})
        files[f"glue/{name}/train.jsonl"] = '{"input": "t", "output": "x"}\n'
        files[f"glue/{name}/test.jsonl"] = '{"input": "u", "output": "y"}\n'
    archive(tmp_path / "text" / "glue.tar.xz", files)
    rows = [IndexRow(name, "glue", "g", "en", "classification", False) for name in ("second", "first")]
    tasks = common.read_tasks(tmp_path, rows)
    assert [task.description for task in tasks] == ["second", "first"]
    assert tasks[0].labels == ("x", "y")
    assert tasks[0].test == (Example("u", "y"),)


def test_rows_whose_text_is_among_others_are_left_out():
    rows = (Example("a", "x"), Example("b", "x"), Example("a", "y"))
    assert common.without(rows, [Example("a", "z")]) == (Example("b", "x"),)


def test_features_come_back_as_they_were_kept(tmp_path):
    texts = ["hello there", "", "hello again"]
    kept = encoded(texts)
    common.save_features(tmp_path / "new" / "f.npz", kept)
    found = common.load_features(tmp_path / "new" / "f.npz", texts)
    assert found.texts == kept.texts
    np.testing.assert_array_equal(found.pooled, kept.pooled)
    np.testing.assert_array_equal(found.cut, kept.cut)
    np.testing.assert_array_equal(found.words.toarray(), kept.words.toarray())
    np.testing.assert_array_equal(found.characters.toarray(), kept.characters.toarray())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["f.npz"]


def test_one_group_with_many_tasks_counts_as_much_as_one_with_few():
    assert common.group_mean(["a", "a", "a", "b"], [0.0, 0.0, 0.0, 1.0]).value == 0.5


def test_the_interval_comes_from_groups_and_not_from_tasks():
    narrow = common.group_mean([str(at) for at in range(100)], [0.0, 1.0] * 50)
    wide = common.group_mean(["a", "b"] * 50, [0.0, 1.0] * 50)
    assert (wide.low, wide.high) == (0.0, 1.0)
    assert 0.35 < narrow.low < 0.45
    assert 0.55 < narrow.high < 0.65


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.floats(-1, 1)), min_size=1, max_size=12))
def test_the_mean_over_groups_lies_in_its_interval(tasks):
    groups, values = zip(*tasks, strict=True)
    found = common.group_mean(groups, values)
    assert min(values) - 1e-9 <= found.low <= found.value + 1e-9
    assert found.value - 1e-9 <= found.high <= max(values) + 1e-9


def test_students_interval_over_seeds():
    found = common.seed_mean([0.1, 0.2, 0.3])
    assert found.value == pytest.approx(0.2)
    assert found.high - found.value == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert common.seed_mean([0.4]).value == 0.4
    assert np.isnan(common.seed_mean([0.4]).low)


def test_a_draw_repeated_by_every_seed_proves_nothing():
    found = common.seed_mean([-0.3, -0.3, -0.3])
    assert found.value == pytest.approx(-0.3)
    assert common.verdict(found) == "one draw"


def test_the_p_value_over_seeds_agrees_with_the_interval():
    values = [0.1, 0.2, 0.3]
    assert common.seed_p_value(values) == pytest.approx(0.0742, abs=1e-4)  # t = 3.4641 with 2 degrees of freedom
    assert common.seed_p_value([-value for value in values]) == common.seed_p_value(values)
    assert common.seed_p_value([0.2]) == 1.0
    assert common.seed_p_value([0.2, 0.2, 0.2]) == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_only_ever_raises_p(p_values):
    adjusted = common.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    assert [q for _, q in sorted(zip(p_values, adjusted, strict=True))] == sorted(adjusted)
    assert min(adjusted) == pytest.approx(min(1, len(p_values) * min(p_values)))


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.1, 0.2, "better"), (-0.2, -0.1, "WORSE"), (-0.1, 0.1, "tie"), (0.0, 0.1, "tie")]
)
def test_a_difference_is_a_tie_unless_its_interval_leaves_zero(low, high, word):
    assert common.verdict(Metric((low + high) / 2, low, high)) == word


def test_a_result_is_json_with_one_row_a_line():
    rows = [{"task": "a", "value": 0.123456}, {"task": "b", "value": Metric(0.5, 0.4, 0.6)}]
    text = common.render({"benchmark": "x"}, rows, {"mean": 1 / 3, "of one": common.seed_mean([0.5])})
    assert json.loads(text) == {
        "benchmark": "x",
        "rows": [{"task": "a", "value": 0.1235}, {"task": "b", "value": [0.5, 0.4, 0.6]}],
        "summary": {"mean": 0.3333, "of one": [0.5, None, None]},
    }
    assert sum('"task"' in line for line in text.splitlines()) == 2


def test_the_command_names_no_folder_of_this_machine(monkeypatch, tmp_path):
    words = ["x", "--data", str(tmp_path / "d"), "--cache", str(tmp_path / "c"), "--seeds", "3", "--full"]
    monkeypatch.setattr("sys.argv", words)
    options = common.arguments("about", seeds=5, extend={"--full": {"action": "store_true"}, "--most": {"type": int}})
    assert options.data == tmp_path / "d"
    assert common.command_line("shots", options) == "python -m benchmarks.shots --data DATA --seeds 3 --full"


def test_a_table_is_aligned():
    assert common.table(("name", "n"), [("a", 1), ("long name", 20)]).splitlines() == [
        "name        n",
        "-------------",
        "a           1",
        "long name  20",
    ]
