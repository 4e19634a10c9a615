"""What is particular to text-classification; what holds for every family is in test_conformance."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from sartor import families
from sartor.families import text_classification
from sartor.families.interface import Condition
from sartor.nn import features, solve
from sartor.nn.features import TextFeatures
from sartor.types import Label, Requirement

FAMILY = families.load("text-classification")
WORDS = {"billing": "invoice money refund pay card bill", "bug": "crash error broken screen app bug"}


def requirement(labels=("billing", "bug"), language="en"):
    named = tuple(label if isinstance(label, Label) else Label(label) for label in labels)
    return Requirement("text-classification", "m", "", named, language=language, base="all-minilm-l6-v2", max_tokens=32)


@pytest.fixture
def base(tiny):
    return FAMILY.base(requirement())


def rows(n, seed=0):
    draw = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    texts = [
        " ".join(draw.choice(list(WORDS.values())[target].split(), 4)) + f" {draw.integers(99)}" for target in targets
    ]
    return texts, targets


def condition_of(base, need, texts, targets):
    return Condition(
        FAMILY.encode_labels(base, need), FAMILY.encode(base, need, texts), np.array(targets, dtype=np.int64)
    )


def test_without_rows_nothing_is_turned_away(base):
    need = requirement()
    weights = FAMILY.generate(need, condition_of(base, need, [], []), seed=0)
    assert FAMILY.head(weights) == "zero-shot"
    assert not FAMILY.predict(need, weights, FAMILY.encode(base, need, ["billing", "bug", "☃"])).abstain.any()


def test_answers_without_rows_are_those_of_the_control_that_reads_label_names(base):
    need = requirement(("billing", "bug", "other"))
    condition = condition_of(base, need, [], [])
    asked = FAMILY.encode(base, need, ["refund my money", "the app", "hello", ""])
    got = FAMILY.predict(need, FAMILY.generate(need, condition, seed=0), asked).probabilities
    wanted = text_classification.label_names(need, condition, asked, 0)
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_a_description_of_a_label_changes_what_it_means(base):
    plain, described = requirement(("a", "b")), requirement((Label("a", "refund money"), Label("b", "crash bug")))
    names, sentences = FAMILY.encode_labels(base, plain), FAMILY.encode_labels(base, described)
    assert np.abs(names.pooled - sentences.pooled).max() > 0.01


def along_a_line(n):
    """Six labels one behind the other: least squares hides those in the middle, likelihoods do not."""
    angles = np.linspace(0, 0.2, n)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None, :].repeat(5, axis=1).astype(np.float32)
    nothing = sp.csr_matrix((n, features.BUCKETS), dtype=np.float32)
    found = TextFeatures(directions, nothing, nothing, np.zeros(n, bool), tuple(f"{at:04}" for at in range(n)))
    return Condition(found.take(np.array([n // 2] * 6)), found, np.arange(n) * 6 // n)


@pytest.mark.parametrize(("n", "head"), [(300, "logistic"), (297, "ridge")])
def test_with_hundreds_of_rows_logistic_regression_answers_where_ridge_cannot(n, head):
    need, condition = requirement("abcdef"), along_a_line(n)
    weights = FAMILY.generate(need, condition, seed=0)
    right = FAMILY.predict(need, weights, condition.support).best == condition.targets
    assert FAMILY.head(weights) == head
    assert head == "ridge" or right.mean() > 0.9


def test_many_rows_are_learnt_from_a_sample_and_solved_on_all(base, monkeypatch):
    monkeypatch.setattr(features, "BUCKETS", 128)  # the largest system is as wide as all blocks
    need = requirement()
    texts, targets = rows(60)
    condition = condition_of(base, need, texts, targets)
    asked = FAMILY.encode(base, need, rows(40, seed=1)[0])
    exact = FAMILY.predict(need, FAMILY.generate(need, condition, seed=0), asked)
    monkeypatch.setattr(solve, "EIGEN_ROWS", 30)
    for dual_rows in (100, 10):
        monkeypatch.setattr(solve, "DUAL_ROWS", dual_rows)
        weights = FAMILY.generate(need, condition, seed=0)
        sampled = FAMILY.predict(need, weights, asked)
        assert (sampled.best == exact.best).mean() > 0.9
        order = np.random.default_rng(0).permutation(60)
        again = FAMILY.generate(need, condition.take(order), seed=0)
        assert all(weights[key].equal(again[key]) for key in weights)


def test_about_one_in_twenty_of_the_owners_rows_would_be_turned_away(base):
    need = requirement()
    weights = FAMILY.generate(need, condition_of(base, need, *rows(200)), seed=0)
    unseen = FAMILY.predict(need, weights, FAMILY.encode(base, need, rows(400, seed=1)[0]))
    assert 0.005 < unseen.abstain.mean() < 0.15


def test_copies_whose_vectors_differ_in_the_last_bit_may_come_in_any_order(base):
    """The same text in another batch is padded otherwise, and sums of floats round otherwise."""
    need = requirement()
    condition = condition_of(base, need, ["the bill", "the bill", "the bill", "the app", "bug"], [0, 0, 0, 1, 1])
    pooled = condition.support.pooled + np.array([0, 1e-3, 2e-3, 0, 0], dtype=np.float32)[:, None, None]
    condition = replace(condition, support=replace(condition.support, pooled=pooled))
    weights = FAMILY.generate(need, condition, seed=0)
    for order in ([2, 1, 0, 3, 4], [1, 3, 0, 4, 2]):
        again = FAMILY.generate(need, condition.take(np.array(order)), seed=0)
        assert all(weights[key].equal(again[key]) for key in weights)


@pytest.mark.parametrize(
    "text", ["", "   ", "☃☃☃", "x" * 20_000, "bug " * 5000, "\ud83d", "a\x00b", "請求が間違っています"]
)
def test_any_text_can_be_learnt_and_asked(base, text):
    need = requirement()
    condition = condition_of(base, need, [text, "the bill", "crash", text], [0, 0, 1, 1])
    answers = FAMILY.predict(need, FAMILY.generate(need, condition, seed=0), FAMILY.encode(base, need, [text]))
    assert np.isfinite(answers.probabilities).all()


def test_texts_that_are_all_alike_can_be_learnt(base):
    need = requirement()
    condition = condition_of(base, need, ["bug"] * 8, [0, 1] * 4)
    answers = FAMILY.predict(need, FAMILY.generate(need, condition, seed=0), condition.support)
    np.testing.assert_allclose(answers.probabilities, 0.5, atol=0.05)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("texts", [["☃", "!!", "??", ""], ["請求", "不具合", "請求書", "不具合です"]])
def test_the_tfidf_control_answers_where_there_is_no_word(base, language, texts):
    need = requirement(language=language)
    condition = condition_of(base, need, texts, [0, 1, 0, 1])
    answers = text_classification.tfidf_logistic(need, condition, condition.support, 0)
    np.testing.assert_allclose(answers.sum(axis=1), 1)


def test_the_tfidf_control_reads_japanese_by_characters(base):
    need = requirement(language="ja")
    texts = ["請求が違います", "アプリの不具合です", "請求書をください", "画面に不具合があります"] * 3
    condition = condition_of(base, need, texts, [0, 1, 0, 1] * 3)
    asked = FAMILY.encode(base, need, ["この請求は何ですか", "また不具合が出ました"])
    assert text_classification.tfidf_logistic(need, condition, asked, 0).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_lost", "card lost"),
        ("card-lost", "card lost"),
        ("CardLost", "card lost"),
        ("billing/refund", "billing refund"),
        ("Card lost", "Card lost"),
        ("FAQ", "FAQ"),
        ("請求", "請求"),
        ("5", "5"),
    ],
)
def test_labels_are_read_as_words(label, words):
    assert text_classification.readable(label) == words


# --- unlabelled texts --------------------------------------------------------------------------------------


def without_rows(base, need, texts):
    condition = condition_of(base, need, [], [])
    return replace(condition, unlabelled=FAMILY.encode(base, need, texts) if texts else None)


def test_without_rows_unlabelled_texts_take_off_half_of_what_a_label_is_liked_in_general(base):
    need = requirement(("billing", "bug", "other"))
    texts = rows(40)[0]
    plain, told = (FAMILY.generate(need, without_rows(base, need, given), seed=0) for given in ((), texts))
    asked = FAMILY.encode(base, need, texts)
    liked = np.log(FAMILY.predict(need, plain, asked).probabilities)
    liked = (liked - liked.mean(axis=1, keepdims=True)).mean(axis=0) / text_classification.ZERO_SHOT_TEMPERATURE
    assert np.abs(liked).max() > 1e-3
    np.testing.assert_allclose(told["bias"].numpy(), -0.5 * liked, atol=1e-3)


def test_a_handful_of_unlabelled_texts_is_not_read(base):
    need = requirement(("billing", "bug", "other"))
    assert not FAMILY.generate(need, without_rows(base, need, rows(9)[0]), seed=0)["bias"].any()


def test_beside_labelled_rows_unlabelled_texts_change_nothing(base):
    need = requirement()
    condition = condition_of(base, need, *rows(12))
    both = replace(condition, unlabelled=FAMILY.encode(base, need, rows(30, seed=1)[0]))
    one, other = (FAMILY.generate(need, given, seed=0) for given in (condition, both))
    assert all(bool((one[name] == other[name]).all()) for name in one)


# --- answers behind the question ---------------------------------------------------------------------------


def asked(description, labels=("yes", "no"), base="all-minilm-l6-v2+anchor2"):
    return replace(requirement(labels), description=description, base=base)


def labels_of(need, base=None):
    return FAMILY.encode_labels(base or FAMILY.base(need), need).pooled


@pytest.mark.parametrize("labels", [("yes", "no"), ("No", "Yes")])
def test_a_question_changes_what_yes_and_no_mean_to_the_anchor_and_to_nothing_else(tiny, labels):
    plain, told, other = (labels_of(asked(text, labels)) for text in ("", "is this about my bill", "a broken app"))
    at = len(text_classification.POOLED)
    assert np.abs(told[:, at] - plain[:, at]).max() > 1e-2
    assert np.abs(told[:, at] - other[:, at]).max() > 1e-2
    rest = np.delete(np.arange(plain.shape[1]), at)
    np.testing.assert_array_equal(told[:, rest], plain[:, rest])
    np.testing.assert_allclose(np.linalg.norm(told[:, at], axis=1), 1, atol=1e-5)


def test_answers_follow_their_labels_whatever_their_order_and_case(tiny):
    one, other = (labels_of(asked("is this about my bill", labels)) for labels in (("yes", "no"), (" NO", "Yes ")))
    at = len(text_classification.POOLED)
    np.testing.assert_allclose(one[:, at], other[::-1, at], atol=1e-6)


def test_texts_are_encoded_alike_whatever_the_description(tiny):
    base = FAMILY.base(asked(""))
    one, other = (FAMILY.encode(base, asked(text), ["refund"]).pooled for text in ("", "is this about my bill"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("labels", [("refund", "no"), ("yes", "no", "other"), ("true", "false")])
def test_labels_that_are_no_answers_are_read_without_the_description(tiny, labels):
    np.testing.assert_array_equal(labels_of(asked("", labels)), labels_of(asked("is this about my bill", labels)))


def test_without_an_anchor_no_question_is_read(tiny):
    one, other = (labels_of(asked(text, base="all-minilm-l6-v2")) for text in ("", "is this about my bill"))
    np.testing.assert_array_equal(one, other)


def test_an_anchor_that_was_taught_no_question_reads_none(tiny):
    need = asked("is this about my bill")
    deaf = replace(FAMILY.base(need), questions=None)
    np.testing.assert_array_equal(labels_of(need, deaf), labels_of(replace(need, description=""), deaf))
