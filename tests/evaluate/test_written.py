import dataclasses
import json

import msgspec
import pytest

from evaluate.echo_writer import NEED, WRITING, Base, Echo
from sartor.errors import DataError
from sartor.evaluate import written
from sartor.evaluate.written import DIALS, prove_written, score_written_file, to_report
from sartor.types import Example, Report, Rows, from_json, to_json


def rows(n, output="yes"):
    return [Example(f"text {at}", output) for at in range(n)]


def prove(family, examples, seed=0, **options):
    return prove_written(family, Base(), NEED, examples, writing=WRITING, seed=seed, **options)


# --- what is measured --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "kind", "measured"), [(0, "none", 0), (3, "none", 0), (4, "cross-validation", 4)])
def test_few_rows_prove_nothing(n, kind, measured):
    found = prove(Echo(), rows(n))
    assert not found.proved
    assert found.reasons
    assert (found.protocol.kind, found.protocol.rows) == (kind, measured)
    assert found.headline.startswith("Not proved: ")
    assert (found.written.scores is None) == (measured == 0)
    assert any(note.topic == "proof" for note in found.notes)


@pytest.mark.parametrize(
    ("n", "kind", "folds", "measured"),
    [
        (10, "cross-validation", 5, 10),
        (40, "cross-validation", 5, 40),
        (41, "holdout", 1, 21),
        (500, "holdout", 1, written.MOST_TEST),
    ],
)
def test_many_rows_are_folded_and_very_many_are_held_out_once(n, kind, folds, measured):
    found = prove(Echo(), rows(n))
    assert found.proved
    assert (found.protocol.kind, found.protocol.folds, found.protocol.rows) == (kind, folds, measured)
    assert found.written.scores.n == measured


def test_no_text_is_on_both_sides_and_all_sets_are_generated_at_once():
    family = Echo()
    examples = [*rows(10), *rows(10, "no")]  # each text twice
    prove(family, examples)
    (supports,) = family.seen
    for support in supports:
        held_out = {row.input for row in examples} - {row.input for row in support}
        assert len(support) == 20 - 2 * len(held_out)
    assert sum(len({row.input for row in examples} - {row.input for row in support}) for support in supports) == 10


def test_the_same_seed_gives_the_same_proof_and_another_other_folds():
    examples = [Example(f"text {at}", "yes" if at % 3 else "no") for at in range(20)]
    assert prove(Echo(), examples) == prove(Echo(), examples)
    one, other = Echo(), Echo()
    prove(one, examples, seed=0)
    prove(other, examples, seed=1)
    assert one.seen != other.seen


def test_every_way_to_answer_is_there_on_the_same_rows():
    found = prove(Echo(), rows(12)).written
    assert [one.name for one in found.baselines] == ["anchor", "base", "instruction", "in-context"]
    assert found.scores.exact_match.value == 1
    assert all(one.scores.n == 12 and one.scores.exact_match.value == 0 for one in found.baselines)
    assert all(one.paired.verdict == "better" and one.paired.wins == 12 for one in found.baselines)
    assert [one.scores.cross_entropy for one in found.baselines] == [2.0, 4.0, None, None]


def test_progress_goes_from_nothing_to_all():
    told = []
    prove(Echo(), rows(12), progress=lambda *of: told.append(of))
    assert told[0] == ("evaluate", 0, told[-1][2])
    assert told[-1][1] == told[-1][2]
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


# --- who answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("costs", "answerer"),
    [
        (((0.5, 3.0), (2.0, 2.0), (4.0, 4.0)), "generated"),
        (((2.5, 3.0), (2.0, 2.0), (4.0, 4.0)), "anchor"),
        (((2.5, 3.0), (2.0, 2.0), (1.0, 1.0)), "base"),
        (((1.0, 1.0), (1.0, 1.0), (1.0, 1.0)), "generated"),
    ],
)
def test_who_foretells_right_answers_best_answers(costs, answerer):
    found = prove(Echo(costs), rows(12))
    assert found.written.answerer == answerer
    assert ("answers: what was generated for this task was no better" in found.headline) == (answerer != "generated")
    assert any(note.topic == "answerer" for note in found.notes) == (answerer != "generated")
    assert all(f"{cost:.2f}" in found.written.why for cost in (costs[1][0], costs[2][0]))


def test_the_dial_is_the_best_of_those_tried_from_eight_rows_on():
    found = prove(Echo(), rows(12)).written
    assert found.dial == 1.25
    assert [point.dial for point in found.sweep] == [0.0, *DIALS]
    assert min(found.sweep, key=lambda point: point.cross_entropy).dial == 1.25
    assert found.sweep[0].cross_entropy == 2.0
    few = prove(Echo(), rows(7)).written
    assert (few.dial, few.sweep) == (1.0, ())


def test_no_row_has_a_part_in_its_own_choice():
    class Odd(Echo):
        """One row is so dear without the adapter that it alone would decide."""

        def costs_of(self, weights, rows):
            found = super().costs_of(weights, rows)
            dear = [row.input == "text 0" for row in rows]
            return found + [1000.0 * one * (weights is None or self.head(weights) != "generated") for one in dear]

    found = prove(Odd(((2.5, 2.5), (2.0, 2.0), (4.0, 4.0))), rows(20)).written
    assert found.answerer == "generated"  # over all rows
    # its own fold is answered as the other rows would have it: by the anchor
    assert found.scores.exact_match.value == pytest.approx(16 / 20)
    assert found.scores.cross_entropy > 50


def test_two_halves_of_a_holdout_choose_for_each_other():
    class Half(Echo):
        def costs_of(self, weights, rows):
            found = super().costs_of(weights, rows)
            generated = weights is not None and self.head(weights) == "generated"
            return found + [10.0 * generated * (at % 2) for at in range(len(rows))]

    found = prove(Half(), rows(60)).written
    # rows in odd places make the adapter dear, so those in even places are answered by the anchor
    assert found.scores.exact_match.value == pytest.approx(0.5, abs=0.02)


# --- words -------------------------------------------------------------------------------------------------


def test_the_headline_names_a_way_that_wins_or_is_as_good():
    wins = prove(Echo(((0.5, 3.0), (9.0, 9.0), (9.0, 9.0))), [Example(f"text {at}", f"TEXT {at}") for at in range(20)])
    assert "Another way wins: One adapter for all tasks" in wins.headline
    mixed = [Example(f"t {at}", "yes" if at % 2 else f"T {at}") for at in range(20)]
    assert (
        "no better than One adapter for all tasks" in prove(Echo(((0.5, 3.0), (9.0, 9.0), (9.0, 9.0))), mixed).headline
    )
    assert "better than all 4 other ways" in prove(Echo(), rows(20)).headline


def test_a_report_has_what_was_found():
    proof = prove(Echo(), rows(12))
    report = to_report(proof, seconds={"load": 1.0})
    assert report.written == proof.written
    assert report.headline == proof.headline
    assert report.scores is None
    assert report.seconds == {"load": 1.0}


# --- a file ------------------------------------------------------------------------------------------------


def score(family, examples, **options):
    [weights] = family.generate(Base(), NEED, [rows(5)])
    given = Rows(tuple(examples), sha256="abc", source="test.csv")
    return score_written_file(family, Base(), NEED, weights, given, writing=WRITING, **options)


def test_a_stored_model_is_scored_beside_the_other_ways():
    report = score(Echo(), rows(12))
    assert report.proved
    assert report.protocol.kind == "test-file"
    assert [one.name for one in report.written.baselines] == ["anchor", "base", "instruction"]
    with_rows = score(Echo(), rows(12), support=rows(5))
    assert [one.name for one in with_rows.written.baselines] == ["anchor", "base", "instruction", "in-context"]
    assert "of test.csv" in report.headline


def test_rows_without_an_answer_are_left_out_and_a_file_of_none_is_refused():
    report = score(Echo(), [*rows(12), Example("text", None)])
    assert report.protocol.rows == 12
    assert any(note.topic == "unlabelled" for note in report.notes)
    with pytest.raises(DataError, match="None of the 1 rows"):
        score(Echo(), [Example("text", None)])


def test_the_rows_a_model_was_made_from_and_few_rows_prove_nothing():
    assert "these very rows" in score(Echo(), rows(12), trained_on="abc").headline
    assert not score(Echo(), rows(9)).proved


def test_an_answerer_that_was_settled_otherwise_is_written_down():
    proof = written.with_answerer(prove(Echo(), []), "anchor", 0.0, "because")
    assert (proof.written.answerer, proof.written.dial, proof.written.why) == ("anchor", 0.0, "because")
    assert dataclasses.replace(proof.written, answerer="generated", dial=1.0, why="").scores is None


# --- odd rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [["t"] * 12, ["t", "u"] * 100])
def test_rows_of_few_texts_cannot_be_held_out(texts):
    found = prove(Echo(), [Example(text, "yes") for text in texts])
    assert (found.protocol.kind, found.written.scores) == ("none", None)


def test_copies_of_a_text_are_one_row_to_a_proof():
    examples = [Example(f"text {at % 9}", "yes") for at in range(36)]
    assert "36 rows with 9 different texts" in prove(Echo(), examples).headline
    assert not score(Echo(), examples).proved
    one = prove(Echo(), [Example("t", "yes")] * 40 + [Example("u", "yes")])
    assert "only 1 row could be measured" in one.headline


def test_rows_without_an_answer_are_not_measured():
    found = prove(Echo(), [*rows(12), Example("text", None)])
    assert found.protocol.rows == 12
    assert [note.topic for note in found.notes] == ["unlabelled"]


def test_what_has_no_loss_is_not_chosen_and_the_report_can_still_be_read():
    class Broken(Echo):
        def costs_of(self, weights, rows):
            found = super().costs_of(weights, rows)
            return found * (float("nan") if weights is not None and self.settled(weights)[1] == 1.5 else 1.0)

    proof = prove(Broken(), rows(12))
    assert (proof.written.answerer, proof.written.dial) == ("generated", 1.25)
    assert [point.dial for point in proof.written.sweep] == [0.0, *DIALS[:-1]]
    report = to_report(proof)
    assert from_json(json.loads(msgspec.json.encode(to_json(report))), Report) == report


def test_a_copy_in_the_holdout_has_no_part_in_the_choice_of_its_text():
    examples = [Example(f"text {at // 2}", "yes") for at in range(60)]
    seen = Echo()
    prove(seen, examples)
    text = min({row.input for row in examples} - {row.input for row in seen.seen[0][0]})

    class Swayed(Echo):
        def costs_of(self, weights, rows):
            found = super().costs_of(weights, rows)
            anchor = weights is not None and self.head(weights) == "anchor"
            return found - [1000.0 * anchor * (row.input == text) for row in rows]

        def answer(self, base, weights, inputs, writing, **options):
            if text in inputs:
                asked.append("base" if weights is None else self.head(weights))
            return super().answer(base, weights, inputs, writing, **options)

    asked = []
    assert prove(Swayed(), examples).written.answerer == "anchor"  # over all rows
    assert "generated" in asked
