"""What is noticed about rows, and the merging of labels."""

from hypothesis import given
from hypothesis import strategies as st

from sartor.data.clean import Conflict, inspect, merge_labels
from sartor.types import Example


def rows(*pairs: tuple[str, str | None]) -> list[Example]:
    return [Example(*pair) for pair in pairs]


def topics(examples: list[Example]) -> dict[str, str]:
    return {note.topic: note.text for note in inspect(examples).notes}


def test_plain_rows_give_no_notes():
    summary = inspect(rows(("one", "a"), ("three", "b"), ("fifteen", "a")))
    assert summary.notes == ()
    assert dict(summary.classes) == {"a": 2, "b": 1}
    assert list(summary.classes) == ["a", "b"]
    assert (summary.rows, summary.length_median, summary.length_p95, summary.length_max) == (3, 5, 7, 7)


def test_no_rows_are_summed_up_as_well():
    summary = inspect([])
    assert (summary.rows, summary.classes, summary.length_max, summary.length_median) == (0, {}, 0, 0)


def test_quantiles_are_values_that_are_there():
    summary = inspect([Example("x" * n, "a") for n in range(1, 101)])
    assert (summary.length_median, summary.length_p95, summary.length_max) == (50, 95, 100)


def test_copies_are_counted_whatever_their_case_width_and_spaces():
    examples = rows(("Hello", "a"), ("hello ", "a"), ("ＨＥＬＬＯ", "a"), ("hello", "b"), ("hello you", "a"))
    assert inspect(examples).duplicates == 2
    assert "2 rows" in topics(examples)["duplicates"]


def test_conflicts_are_listed_as_first_written_the_most_frequent_label_first():
    examples = rows(("Hello", "b"), ("hello", "a"), ("hello ", "a"), ("x", "a"), ("x", None), ("y", "b"))
    assert inspect(examples).conflicts == (Conflict("Hello", ("a", "b"), 3),)
    assert "'Hello': 'a', 'b'" in topics(examples)["conflicts"]


def test_many_conflicts_are_cut_in_the_note_but_not_in_the_summary():
    examples = [Example(f"{n} {'long ' * 50}", label) for n in range(9) for label in "ab"]
    assert len(inspect(examples).conflicts) == 9
    assert "and 6 more" in topics(examples)["conflicts"]
    assert len(topics(examples)["conflicts"]) < 500


def test_labels_that_differ_only_in_case_width_or_spaces_are_offered_for_merging():
    examples = rows(("1", "Bug"), ("2", "bug "), ("3", "Bug"), ("4", "ＢＵＧ"), ("5", "bag"))
    assert inspect(examples).near_equal == (("Bug", "bug ", "ＢＵＧ"),)
    text = topics(examples)["labels"]
    assert text.startswith("labels 'Bug' and 'bug ' and 'ＢＵＧ' differ only in case, width or spaces")
    assert "--merge-labels" in text


def test_merging_spells_labels_as_most_rows_do():
    examples = rows(("1", "bug"), ("2", "Bug"), ("3", "Bug"), ("4", "ﾊﾞｸﾞ"), ("5", "バグ"), ("6", "バグ"), ("7", None))
    merged = merge_labels(examples)
    assert [example.output for example in merged] == ["Bug", "Bug", "Bug", "バグ", "バグ", "バグ", None]
    assert [example.input for example in merged] == [example.input for example in examples]


@given(st.permutations(rows(("1", "bug"), ("2", "Bug"), ("3", "BUG"), ("4", "other"))))
def test_merging_does_not_depend_on_the_order_of_rows(examples):
    assert {example.output for example in merge_labels(examples)} == {"BUG", "other"}


@given(st.lists(st.tuples(st.text(max_size=3), st.none() | st.text("aAＡ bＢ", max_size=2)), max_size=20))
def test_merged_labels_need_no_merging(pairs):
    merged = merge_labels(rows(*pairs))
    assert inspect(merged).near_equal == ()
    assert merge_labels(merged) == merged


def test_texts_of_extreme_length_are_counted():
    texts = ["w " * 20_001, "w " * 20_000, "x" * 100_001, "x" * 100_000]
    examples = [Example(text, "a") for text in texts]
    assert inspect(examples).very_long == 2
    assert "2 texts are very long" in topics(examples)["length"]
