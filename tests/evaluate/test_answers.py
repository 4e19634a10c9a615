import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from sartor.errors import DataError
from sartor.evaluate import matching
from sartor.evaluate.answers import compare_answers, compare_rows, score_answers
from sartor.evaluate.matching import LCS_TOKENS, chrf, exact_match, normalised, rouge_l, token_f1

METRICS = [exact_match, token_f1, rouge_l, chrf]
SYMMETRIC = [exact_match, token_f1, rouge_l]
ANY = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of surrogate pairs among them
NEAR = st.text("aAb 1.,'🙂日ア\u0e01\u0301\u200f\ud83d\ude42\n", max_size=30)
"""Few characters, so that two texts have much in common."""
TEXTS = ANY | NEAR
WHITE = st.text(" \t\n\r\x0b\u00a0\u2003\u2028\u3000", max_size=4)

# answer, reference, token F1, ROUGE-L, chrF2
GOLDEN = [
    ("The cat sat on the mat.", "The cat is on the mat.", 0.75, 0.8333333333333334, 0.6717273492330232),
    ("a cat", "The Cat!", 1.0, 0.5, 0.12447589098532492),
    ("Paris", "paris", 1.0, 1.0, 0.5433333333333333),
    (
        "It was founded in 1998 by Larry Page and Sergey Brin.",
        "Larry Page and Sergey Brin founded Google in 1998.",
        0.7999999999999999,
        0.5,
        0.6923612231700451,
    ),
    ("police killed the gunman", "police kill the gunman", 0.6666666666666666, 0.75, 0.8162392219120139),
    ("the gunman kill police", "police killed the gunman", 0.6666666666666666, 0.5, 0.624670603683175),
    ("yes", "no", 0.0, 0.0, 0.0),
    ("yes", "Yes, it is.", 0.5, 0.5, 0.13465681748230227),
    ("don't stop", "do not stop", 0.4, 0.3333333333333333, 0.45727513227513233),
    ("3.5 million", "35 million", 1.0, 0.4, 0.826093801436548),
    ("well-known facts", "well known facts", 0.4, 1.0, 0.7601309906137363),
    ("x", "xyz", 0.0, 0.0, 0.3846153846153846),
    ("to be or not to be that is the question", "to be to be to be", 0.5333333333333333, 0.5, 0.31317496730524697),
    (
        "SELECT name FROM users WHERE id = 1;",
        "SELECT name, id FROM users WHERE id = 10;",
        0.7999999999999999,
        0.7999999999999999,
        0.7755190619449212,
    ),
    (
        "Le café était fermé hier",
        "le café est fermé depuis hier",
        0.7272727272727272,
        0.7272727272727272,
        0.36050148843992885,
    ),
    (
        "Straße gesperrt wegen Bauarbeiten",
        "Die Straße ist wegen Bauarbeiten gesperrt",
        0.8,
        0.6,
        0.7163930741363377,
    ),
    ("東京は日本の首都です", "日本の首都は東京だ", 0.8421052631578948, 0.5263157894736842, 0.401850041692215),
    ("北京是中国的首都", "中国首都是北京", 0.9333333333333333, 0.5333333333333333, 0.24268617021276595),
    ("สวัสดีครับ", "สวัสดีค่ะ", 0.7368421052631577, 0.7368421052631577, 0.6477113992305061),
    ("שלום עולם טוב", "שלום לכל העולם", 0.3333333333333333, 0.3333333333333333, 0.31149786057136897),
    ("नमस्ते दुनिया", "नमस्ते प्यारी दुनिया", 0.8, 0.8, 0.4676275969065322),
    ("great 🙂👍", "great 👍🙂🙂", 0.8571428571428571, 0.5714285714285715, 0.44726919107724067),
]


@pytest.mark.parametrize(("answer", "reference", "f1", "longest", "characters"), GOLDEN)
def test_the_figures_are_those_of_the_libraries(answer, reference, f1, longest, characters):
    """Figures of torchmetrics 1.9.0 (SQuAD), rouge-score 0.1.2 and sacrebleu 2.6.0, which are no dependencies.

    To have them anew, in an environment with these three, torch and regex, for every pair:

        torch.set_default_dtype(torch.float64)
        one = r"\\p{Han}\\p{Hiragana}\\p{Katakana}\\p{Thai}\\p{Emoji_Presentation}"
        spaced = lambda text: regex.sub(f"([{one}])", r" \\1 ", text)
        class Words:
            def tokenize(self, text):
                return regex.findall(r"[\\p{L}\\p{M}\\p{N}\\p{Emoji_Presentation}]+", spaced(text.lower()))
        torchmetrics.functional.text.squad._compute_f1_score(spaced(answer), spaced(reference))
        rouge_score.rouge_scorer.RougeScorer(["rougeL"], tokenizer=Words()).score(reference, answer)
        sacrebleu.metrics.CHRF().sentence_score(answer, [reference]).score / 100

    Where both texts are ASCII, rouge-score's own tokenizer gives the same figure.
    """
    assert token_f1(answer, reference) == pytest.approx(f1, abs=1e-12)
    assert rouge_l(answer, reference) == pytest.approx(longest, abs=1e-12)
    assert chrf(answer, reference) == pytest.approx(characters, abs=1e-12)


@given(st.text("abcd", max_size=70), st.text("abcd", max_size=70))
def test_the_longest_common_subsequence_is_that_of_the_table(ours, theirs):
    table = np.zeros((len(ours) + 1, len(theirs) + 1), dtype=int)
    for i, one in enumerate(ours):
        for j, other in enumerate(theirs):
            table[i + 1, j + 1] = table[i, j] + 1 if one == other else max(table[i, j + 1], table[i + 1, j])
    assert matching._common_subsequence(ours, theirs) == table[-1, -1]


@pytest.mark.parametrize("metric", METRICS)
@given(TEXTS, TEXTS)
def test_every_figure_lies_in_0_to_1(metric, answer, reference):
    assert 0 <= metric(answer, reference) <= 1


@pytest.mark.parametrize("metric", METRICS)
@given(TEXTS)
def test_a_text_is_itself(metric, text):
    assert metric(text, text) == 1


@pytest.mark.parametrize("metric", SYMMETRIC)
@given(TEXTS, TEXTS)
def test_two_texts_are_as_near_seen_from_either(metric, one, other):
    assert metric(one, other) == metric(other, one)


@given(st.text("ab", min_size=1, max_size=12), st.randoms())
def test_chrf_is_symmetric_for_texts_of_one_length(text, random):
    other = "".join(random.choice("ab") for _ in text)
    assert chrf(text, other) == pytest.approx(chrf(other, text))


def test_chrf_counts_what_is_missing_more_than_what_is_too_much():
    assert chrf("the cat sat", "the cat sat down") < chrf("the cat sat down", "the cat sat")


@pytest.mark.parametrize("metric", METRICS)
@given(TEXTS, TEXTS, WHITE, WHITE)
def test_outer_white_space_changes_nothing(metric, answer, reference, before, behind):
    assert metric(before + answer + behind, reference) == metric(answer, reference)
    assert metric(answer, before + reference + behind) == metric(answer, reference)


@given(TEXTS, TEXTS, st.booleans(), st.booleans())
def test_texts_that_match_exactly_have_all_tokens_and_characters_in_common(one, other, fold, strip):
    if exact_match(one, other):
        assert token_f1(one, other) == rouge_l(one, other) == chrf(one, other) == 1
        # a flag forgives more, never less
        assert exact_match(one, other, fold_case=fold, strip_punctuation=strip)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("empty", ["", "  \n", "\u200b\u200f", "\ud800"])
def test_a_text_of_which_nothing_is_seen_matches_only_its_like(metric, empty):
    assert metric(empty, "") == 1
    assert metric(empty, "something") == metric("something", empty) == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ｔｏｋｙｏ", "Tokyo"),
        ("ｱﾊﾟｰﾄ", "アパート"),
        ("cafe\u0301", "café"),
        ("\u200fשלום\u200f", "שלום"),
        ("❤\ufe0f", "❤"),
        ("co\u00adoperate", "cooperate"),
        ("two\u00a0 words", "two words"),
        ("\ud83d\ude42", "🙂"),
    ],
    ids=["full width", "half width", "decomposed", "direction", "variation", "soft hyphen", "spaces", "surrogates"],
)
def test_what_a_reader_does_not_see_is_no_difference(metric, one, other):
    assert metric(one, other) == 1


@pytest.mark.parametrize(
    ("text", "kept", "stripped"),
    [
        (" “Paris”. ", "“Paris”.", "Paris"),
        ("(yes)!", "(yes)!", "yes"),
        ("「はい」。", "「はい」。", "はい"),
        ("¿Qué?", "¿Qué?", "Qué"),
        ("-5", "-5", "-5"),
        (".5", ".5", ".5"),
        ("50%.", "50%.", "50%"),
        ("C#", "C#", "C#"),
        ("a.b", "a.b", "a.b"),
        (":)", ":)", ":)"),
        ("?", "?", "?"),
        ('" "', '" "', '" "'),
        ("", "", ""),
    ],
)
def test_outer_punctuation_goes_by_the_flag_and_signs_that_mean_something_stay(text, kept, stripped):
    assert normalised(text) == kept
    assert normalised(text, strip_punctuation=True) == stripped


def test_case_goes_by_the_flag():
    assert not exact_match("PARIS", "Paris")
    assert exact_match("PARIS", "Paris", fold_case=True)
    assert exact_match("STRASSE", "Straße", fold_case=True)
    assert not exact_match("Paris.", "Paris", fold_case=True)
    assert exact_match("Paris.", "Paris", strip_punctuation=True)


@pytest.mark.parametrize("metric", [token_f1, rouge_l])
@pytest.mark.parametrize(("one", "other"), [(":)", ":("), ("+", "-"), ("...", "?")])
def test_punctuation_alone_is_compared_as_it_is(metric, one, other):
    assert metric(one, one) == 1
    assert metric(one, other) == 0


def test_an_article_alone_is_an_answer():
    assert token_f1("A", "The") == 0
    assert token_f1("A", "a.") == 1


def test_words_and_characters_mix():
    assert token_f1("iPhoneを買う", "iPhoneを売る") == pytest.approx(2 * 2 / (4 + 4))


BIG = {
    "words": "ab c dog x " * 9_000,
    "japanese": "日本語あいう" * 5_500,
    "one character": "a" * 100_000,
    "marks": "\u0301\u0323" * 25_000,
    "quotes and a letter": '"' * 50_000 + "x" + "." * 50_000,
    "emoji": "🙂👍" * 12_500,
    "surrogates": "\ud800\udfff\udfff" * 11_000,
    "ligatures": "\ufdfa" * 5_000,
}


@pytest.mark.parametrize("text", BIG.values(), ids=BIG.keys())
def test_a_text_of_100_kb_takes_a_moment(text):
    began = time.process_time()
    for metric in METRICS:
        assert 0 <= metric(text, text[::-1]) <= 1
        assert metric(text, "short") < 0.1
    normalised(text, fold_case=True, strip_punctuation=True)
    assert time.process_time() - began < 4


def test_rouge_l_looks_at_the_first_tokens_only():
    same = "word " * LCS_TOKENS
    assert rouge_l(same + "one", same + "two three") == 1
    assert rouge_l("word " * (LCS_TOKENS - 1) + "one", same) == pytest.approx(1 - 1 / LCS_TOKENS)


def test_no_more_marks_are_read_than_a_letter_can_bear():
    assert exact_match("a" + "\u0323" * 30, "a" + "\u0323" * 31)
    assert not exact_match("a" + "\u0323" * 29, "a" + "\u0323" * 30)


# --- means over rows ---------------------------------------------------------------------------------------


def test_a_mean_is_that_of_its_rows_and_its_interval_holds_it():
    answers, references = [row[0] for row in GOLDEN], [row[1] for row in GOLDEN]
    found = score_answers(answers, references)
    assert found.n == len(GOLDEN)
    assert found.labels is None
    for metric, name in zip(METRICS, ["exact_match", "token_f1", "rouge_l", "chrf"], strict=True):
        rows = [float(metric(*pair)) for pair in zip(answers, references, strict=True)]
        mean = getattr(found, name)
        assert getattr(found.rows, f"{name}_N").tolist() == rows
        assert mean.value == pytest.approx(np.mean(rows))
        assert 0 <= mean.low <= mean.value <= mean.high <= 1


@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=2)), min_size=1, max_size=3))
def test_any_text_can_be_scored(rows):
    found = score_answers(*zip(*rows, strict=True))
    for mean in (found.exact_match, found.token_f1, found.rouge_l, found.chrf):
        assert 0 <= mean.low <= mean.value <= mean.high <= 1


def test_a_row_counts_by_the_reference_it_comes_nearest_to():
    found = score_answers(["the big cat"], [["nothing alike", "big cat", "the big cats"]])
    assert found.rows.token_f1_N[0] == 1.0
    assert found.rows.rouge_l_N[0] == rouge_l("the big cat", "big cat") > rouge_l("the big cat", "the big cats")
    assert found.rows.chrf_N[0] == chrf("the big cat", "the big cats") > chrf("the big cat", "big cat")
    assert not found.rows.exact_match_N[0]


def test_the_flags_are_those_of_exact_match_alone():
    strict, lenient = (
        score_answers(["Yes."], ["yes"], fold_case=flag, strip_punctuation=flag) for flag in (False, True)
    )
    assert (strict.exact_match.value, lenient.exact_match.value) == (0.0, 1.0)
    assert (strict.token_f1, strict.rouge_l, strict.chrf) == (lenient.token_f1, lenient.rouge_l, lenient.chrf)


def test_the_same_seed_gives_the_same_scores():
    answers, references = ["a b", "c", "d e f"] * 4, ["b", "c", "d f"] * 4
    assert score_answers(answers, references, seed=3) == score_answers(answers, references, seed=3)
    assert score_answers(answers, references, seed=3) != score_answers(answers, references, seed=4)


def test_no_error_among_few_rows_is_not_certainty():
    found = score_answers(["right"] * 8, ["right"] * 8)
    for mean in (found.exact_match, found.token_f1, found.rouge_l, found.chrf):
        assert mean.value == mean.high == 1.0
        assert 0.5 < mean.low < 0.8


def test_what_rows_scored_cannot_be_written_to():
    rows = score_answers(["a"], ["b"]).rows
    for values in (rows.exact_match_N, rows.token_f1_N, rows.rouge_l_N, rows.chrf_N):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


@pytest.mark.parametrize(("n", "chances"), [(12, [0.5, 0.3, 0.2]), (60, [0.1, 0.8, 0.1]), (120, [0.6, 0.2, 0.2])])
def test_the_intervals_hold_the_truth_in_most_samples(n, chances):
    worth = np.array([1.0, 2 / 3, 0.0])
    answers = np.array(["red blue", "red", "green"])
    truth = worth @ chances
    held = np.zeros(2)
    for seed in range(80):
        random = np.random.default_rng(seed)
        ours, theirs = (answers[random.choice(3, n, p=chances)].tolist() for _ in range(2))
        mean = score_answers(ours, ["red blue"] * n).token_f1
        difference = compare_answers(ours, theirs, ["red blue"] * n).token_f1
        held += [mean.low <= truth <= mean.high, difference.low <= 0 <= difference.high]
    assert (held >= 0.9 * 80).all()


def test_intervals_are_hardly_wider_than_a_plain_bootstrap_where_rows_are_many():
    answers = ["red blue", "red"] * 200
    found = score_answers(answers, ["red blue"] * 400).token_f1
    error = np.std([1.0, 2 / 3]) / np.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.15)


# --- few outputs -------------------------------------------------------------------------------------------


def test_few_outputs_are_labels():
    references = ["Positive"] * 6 + ["negative"] * 3 + ["neutral"] * 3
    answers = ["positive.", "Positive", "POSITIVE", "negative", "good", "", "negative", "neutral", '"Negative"']
    answers += ["neutral", "Positive", "neutral"]
    found = score_answers(answers, references).labels
    assert found is not None
    assert found.labels == ("Positive", "negative", "neutral")
    assert found.not_a_label == 2
    clean = [answer.lower().strip('."') for answer in answers]
    right = [reference.lower() for reference in references]
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(right, clean))
    expected = metrics.recall_score(right, clean, labels=sorted(set(right)), average="macro", zero_division=0)
    assert found.balanced_accuracy.value == pytest.approx(expected)
    assert found.balanced_accuracy.value != pytest.approx(found.accuracy.value)


@pytest.mark.parametrize(
    "references",
    [
        ["yes"] * 6,
        ["yes"] * 3 + ["no"] * 2,
        [str(number) for number in range(21) for _ in range(3)],
        [["yes", "indeed"]] * 3 + ["no"] * 3,
    ],
    ids=["one value", "a rare one", "too many", "two right answers in a row"],
)
def test_other_outputs_are_not(references):
    assert score_answers(["yes"] * len(references), references).labels is None


def test_twenty_outputs_and_two_ways_to_write_one_are_still_labels():
    references = [str(number) for number in range(20) for _ in range(3)]
    found = score_answers(references, [[text, f"{text}."] for text in references]).labels
    assert found is not None
    assert found.accuracy.value == found.balanced_accuracy.value == 1.0
    assert len(found.labels) == 20


# --- two models --------------------------------------------------------------------------------------------

REFERENCES = ["red blue"] * 10
BETTER = ["red blue"] * 9 + ["green"]
WORSE = ["red blue"] * 3 + ["red"] * 6 + ["green"]


def test_two_models_are_compared_row_by_row():
    found = compare_answers(BETTER, WORSE, REFERENCES)
    assert (found.exact_match.wins, found.exact_match.losses) == (6, 0)
    assert found.exact_match.p_value == 0.03125
    assert found.exact_match.verdict == "better"
    assert found.exact_match.difference.value == pytest.approx(0.6)
    assert found.token_f1.value == pytest.approx(0.6 / 3)
    assert found.token_f1.low < 0.2 < found.token_f1.high


def test_the_comparison_turns_with_the_sides():
    found, turned = compare_answers(BETTER, WORSE, REFERENCES), compare_answers(WORSE, BETTER, REFERENCES)
    assert turned.exact_match.verdict == "worse"
    assert turned.exact_match.p_value == found.exact_match.p_value
    assert turned.token_f1.value == pytest.approx(-found.token_f1.value)
    assert (turned.token_f1.low, turned.token_f1.high) == (
        pytest.approx(-found.token_f1.high, abs=0.05),
        pytest.approx(-found.token_f1.low, abs=0.05),
    )


def test_a_model_ties_with_itself_without_certainty():
    found = compare_answers(WORSE, WORSE, REFERENCES)
    assert found.exact_match.verdict == "tie"
    assert found.token_f1.value == 0.0
    assert -0.5 < found.token_f1.low < 0 < found.token_f1.high < 0.5


def test_rows_that_were_scored_need_not_be_scored_again():
    model, baseline = (score_answers(answers, REFERENCES).rows for answers in (BETTER, WORSE))
    assert compare_rows(model, baseline) == compare_answers(BETTER, WORSE, REFERENCES)


def test_the_flags_reach_the_comparison():
    found = compare_answers(["Red Blue."] * 10, WORSE, REFERENCES, fold_case=True, strip_punctuation=True)
    assert (found.exact_match.wins, found.exact_match.losses) == (7, 0)


@pytest.mark.parametrize(
    ("answers", "references", "message"),
    [
        ([], [], "no answer to score"),
        (["a", "b"], ["a"], "2 answers and 1 references"),
        (["a", "b"], ["a", []], "Row 2 has no reference"),
    ],
)
def test_what_cannot_be_scored_is_refused(answers, references, message):
    with pytest.raises(DataError, match=message):
        score_answers(answers, references)
    with pytest.raises(DataError, match=message):
        compare_answers(answers, answers, references)


def test_other_rows_cannot_be_compared():
    with pytest.raises(DataError, match="1 rows of one and 2 of the other"):
        compare_rows(score_answers(["a"], ["a"]).rows, score_answers(["a", "b"], ["a", "b"]).rows)
