import json
from collections import defaultdict
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import NotFoundError
from sartor.pretrain import transforms
from sartor.pretrain.transforms import POOLS, inputs, is_test, share

TASKS = {task.name: task for task in transforms.transforms()}
LABELLED = [task for task in TASKS.values() if task.metric == "accuracy"]


def test_there_are_many_tasks_of_many_families_and_pools_are_shared():
    assert len(TASKS) == len(transforms.transforms()) >= 150
    assert len({task.family for task in TASKS.values()}) >= 12
    families = defaultdict(set)
    for task in TASKS.values():
        assert task.name.startswith(f"{task.family}/")
        families[task.pool].add(task.family)
    assert set(families) == set(POOLS)
    assert sum(len(found) > 1 for found in families.values()) >= 10


def test_every_task_is_told_in_five_ways_and_none_is_told_as_another():
    owner = {}
    for task in TASKS.values():
        told = {" ".join(text.casefold().split()) for text in task.descriptions}
        assert len(told) == len(task.descriptions) >= 5, task.name
        assert all(text.strip() for text in told)
        # what two tasks share says nothing by itself
        clashes = {owner[text] for text in told if text in owner and TASKS[owner[text]].pool == task.pool}
        assert not clashes, (task.name, clashes)
        owner |= dict.fromkeys(told, task.name)


def test_every_task_has_rows_to_learn_from_and_rows_to_judge_by():
    for task in TASKS.values():
        train = task.make(0, 60, lambda text: not is_test(text))
        test = task.make(0, 100, is_test)
        assert (len(train), len(test)) == (60, 100), task.name
        rows = [*train, *test]
        assert len({row.input.casefold() for row in rows}) == 160
        assert all(row.output and row.output.strip() for row in rows), task.name
        assert max(len(row.output.split()) for row in rows) <= 24, task.name
        assert max(len(row.input.split()) for row in rows) <= 24


def test_no_task_of_a_pool_answers_as_another_does():
    for pool in POOLS:
        texts = inputs(pool, 0)[:400]
        answers = defaultdict(list)
        for task in TASKS.values():
            if task.pool == pool:
                answers[tuple(task.function(text) for text in texts)].append(task.name)
        assert [names for names in answers.values() if len(names) > 1] == []


@pytest.mark.parametrize("task", LABELLED, ids=lambda task: task.name)
def test_every_label_occurs_and_stands_in_every_description(task):
    labels = {row.output for row in task.make(0, 300)}
    assert len(labels) >= 2
    for text in task.descriptions:
        assert all(label in text for label in labels)


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("case/title", "the park was wet", "The Park Was Wet"),
        ("case/swap", "Is it?", "iS IT?"),
        ("case/vowels_upper", "We saw", "wE sAw"),
        ("position/second_last", "one wet cat ran", "cat"),
        ("position/second_last", "it ran", None),
        ("position/initials", "Where is it?", "Wii"),
        ("count/capitals", "Anna saw Ben", "2"),
        ("count/letter_e", "tree, eye", "4"),
        ("remove/digits", "We saw 3 cats and 12 dogs", "We saw cats and dogs"),
        ("remove/digits", "We saw cats", None),
        ("remove/last", "Is the cat wet?", "Is the cat"),
        ("keep/digits", "Call +44 20 123456 now.", "4420123456"),
        ("separator/snake", "Is the cat wet?", "is_the_cat_wet"),
        ("wrap/json", 'a "b"', '{"text": "a \\"b\\""}'),
        ("replace/email", "Write to a.b@c.org now.", "Write to [EMAIL] now."),
        ("replace/email", "Write now.", None),
        ("extraction/email", "Please send it to a.b@c-d.org.", "a.b@c-d.org"),
        ("extraction/email", "Ask a@c.org or b@c.org.", None),
        ("extraction/money", "It costs $12.50.", "$12.50"),
        ("extraction/url", "See https://a.org/faq for more.", "https://a.org/faq"),
        ("extraction/domain", "Write to a@c.org.", "c.org"),
        ("sentiment/b_a", "The soup was really great", "B"),
        ("sentiment/a_b", "The soup was neither great nor awful", None),
        ("topic/numbers", "The battery was really bad", "3"),
        ("language/codes", "Au fait, elle habite ici maintenant", "fr"),
        ("check/question", "Is it wet?", "yes"),
        ("check/long", "one two three four five six seven", "short"),
        ("order/alphabet", "cat, bed, arm", "arm, bed, cat"),
        ("order/alphabet", "cat", None),
        ("pick/longest", "cat, table, chair", "table"),
        ("list_format/sentence", "cat, bed, arm", "cat, bed and arm"),
        ("list_format/json", "cat, bed", '["cat", "bed"]'),
        ("inflection/plural", "mouse, leaf", "mice, leaves"),
        ("inflection/past", "swim, buy", "swam, bought"),
        ("antonym/pair", "hot, big", "hot or cold"),
        ("category/only_food", "cat, egg, pear", "egg, pear"),
        ("category/only_food", "cat, bed", "none"),
        ("translation/de_nouns", "tree, potato", "Baum, Kartoffel"),
        ("translation/fr_nouns", "tree, potato", "arbre, pomme de terre"),
        ("translation/es_articles", "tree, hand", "el árbol, la mano"),
        ("geography/capital", "Peru, India", "Lima, New Delhi"),
        ("date/iso", "March 7, 2021", "2021-03-07"),
        ("date/iso", "2021-03-07", None),
        ("date/us", "7 March 2021", "03/07/2021"),
        ("date/long_german", "2021-03-07", "7. März 2021"),
        ("date_part/quarter", "2021-10-01", "Q4"),
        ("time/24", "12:05 am", "00:05"),
        ("time/24", "12:05 pm", "12:05"),
        ("time/12", "00:05", "12:05 am"),
        ("time/later", "23:30", "00:30"),
        ("number_format/words", "815", "eight hundred fifteen"),
        ("number_format/digits", "forty-two", "42"),
        ("number_format/ordinal", "112", "112th"),
        ("number_format/ordinal", "22", "22nd"),
        ("number_format/swiss", "12345", "12'345"),
        ("number_value/tens", "95", "100"),
        ("number_value/hundreds", "149", "100"),
        ("unit/name", "2.5 kg", "2.5 kilograms"),
        ("unit/comma", "2.5 kilograms", "2,5 kg"),
        ("name_format/email", "Anna Miller", "anna.miller@example.com"),
        ("letter/hello", "Anna Miller", "Hello Anna!"),
        ("field/city", "name: Anna Miller; city: Oslo; item: lamp; quantity: 3", "Oslo"),
        ("record_format/csv", "name: Anna Miller; city: Oslo; item: lamp; quantity: 3", "Anna Miller,Oslo,lamp,3"),
        ("composition/pick_longest_length", "cat, table", "5"),
        ("composition/pick_longest_length", "cat", None),
    ],
)
def test_what_tasks_answer(name, text, answer):
    assert TASKS[name].function(text) == answer


@pytest.mark.parametrize("pool", sorted(POOLS))
def test_inputs_are_the_same_for_the_same_seed_and_distinct(pool):
    some = inputs.__wrapped__(pool, 3, 200)
    assert some == inputs.__wrapped__(pool, 3, 400)[:200]
    assert some != inputs.__wrapped__(pool, 4, 200)
    assert len({text.casefold() for text in some}) == 200


def test_tasks_of_a_pool_read_the_same_inputs():
    texts = {
        name: [row.input for row in TASKS[name].make(5, 50)] for name in ("case/upper", "wrap/json", "count/words")
    }
    assert texts["case/upper"] == texts["wrap/json"] == texts["count/words"]
    assert [row.input for row in TASKS["case/upper"].make(6, 50)] != texts["case/upper"]


@given(st.text(), st.integers(2, 9))
def test_a_text_and_its_copies_are_on_one_side(text, parts):
    assert share(text, parts, "a") in range(parts)
    assert is_test(f"  {text.upper().lower()} ") == is_test(text.upper().lower())
    assert is_test("A  b\nc") == is_test("a b c")


def test_both_sides_have_about_half_of_the_inputs():
    tested = [is_test(text) for text in inputs("dates", 0)]
    assert 0.45 < sum(tested) / len(tested) < 0.55


def test_numbers_in_words_are_read_back():
    words, digits = TASKS["number_format/words"].function, TASKS["number_format/digits"].function
    assert all(digits(words(str(number))) == str(number) for number in range(1000))


def test_a_composition_does_its_steps_and_names_their_families():
    task = TASKS["composition/field_city_json"]
    assert task.parts == ("field", "wrap")
    for row in task.make(0, 20):
        assert json.loads(row.output) == {"text": TASKS["field/city"].function(row.input)}
    families = {other.family for other in TASKS.values()}
    for other in TASKS.values():
        assert bool(other.parts) == (other.family == "composition")
        assert set(other.parts) <= families


def test_an_unknown_pool_is_named():
    with pytest.raises(NotFoundError, match="no pool of inputs named 'poems'; known are adjectives"):
        inputs("poems", 0)


def test_it_all_stays_small():
    package = files("sartor.pretrain")
    assert sum(len(package.joinpath(name).read_bytes()) for name in ("transforms.py", "vocabulary.json")) < 150_000
