import pytest

import tiny_language
from benchmarks import sites
from sartor.pretrain.instructions import InstructionTask
from sartor.types import Example


@pytest.fixture(scope="module")
def task():
    rows = tuple(Example(f"{word} {at}", word.upper()) for word in ("red", "blue") for at in range(10))
    return InstructionTask("upper", "g", "f", ("say it louder",), rows[:16], rows[16:], "exact_match", None)


def test_an_adapter_of_its_own_answers_a_task_better_than_none(task):
    model = tiny_language.model()
    alone = sites.loss(model, task, None)
    for targets in sites.SITES.values():
        found = sites.own(model, task, targets, 40)
        assert {path.rpartition(".")[2] for path in found} == set(targets)
        assert sites.loss(model, task, found) < alone


def test_the_summary_counts_groups_once_and_says_what_is_below_the_anchor():
    rows = [
        {"task": name, "group": group, "base": 3.0, "anchor": 2.0, "q, v": own, "q, v: seconds": 4.0}
        for name, group, own in (("a", "g", 1.0), ("b", "g", 2.0), ("c", "h", 1.5))
    ]
    found = sites.summarise(rows)
    assert (found["tasks"], found["groups"]) == (3, 2)
    assert found["below_anchor"]["q, v"].value == pytest.approx(0.5)
    assert found["below_anchor"]["base"].value == pytest.approx(-1.0)
    assert found["median_seconds"] == {"q, v": 4.0}
    assert "+0.500" in sites.to_table(found)
