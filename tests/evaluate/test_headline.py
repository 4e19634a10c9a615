from sartor.evaluate.headline import headline, p_value

from .reports import baseline, scores

MODEL = scores(0.825, 0.791, 0.855)
WHERE = "on 400 rows it had not seen"
MAJORITY = baseline("majority class", 0.3, "better", 1e-9)
TFIDF = "TF-IDF + logistic regression"


def test_a_model_that_beats_all_says_so():
    found = headline(MODEL, [MAJORITY, baseline(TFIDF, 0.7, "better", 0.01)], where=WHERE)
    assert found == "82.5% right [79.1, 85.5] on 400 rows it had not seen; better than all 2 baselines"


def test_a_baseline_that_wins_comes_first():
    rivals = [MAJORITY, baseline("probe", 0.83, "tie", 0.6), baseline(TFIDF, 0.841, "worse", 0.003)]
    found = headline(scores(0.79), rivals, where=WHERE)
    assert found.startswith("A baseline wins: TF-IDF + logistic regression is better (84.1% against 79.0%")
    assert "p = .003" in found


def test_of_two_winners_the_stronger_is_named():
    rivals = [baseline("probe", 0.9, "worse", 0.001), baseline(TFIDF, 0.95, "worse", 0.0001)]
    assert headline(MODEL, rivals, where=WHERE).startswith(f"A baseline wins: {TFIDF}")


def test_a_tie_is_no_better():
    found = headline(MODEL, [MAJORITY, baseline(TFIDF, 0.82, "tie", 0.61)], where=WHERE)
    assert found.endswith(f"; no better than {TFIDF} on these rows (82.0%, p = .610)")


def test_without_a_baseline_nothing_is_claimed():
    assert headline(MODEL, [], where=WHERE).endswith("compared with no baseline")
    assert headline(MODEL, [MAJORITY], where=WHERE).endswith("better than the one baseline")


def test_what_is_not_proved_says_so_first_and_keeps_a_loss():
    reason = "label 'x' has 1 row; give at least 2, better 8"
    assert headline(None, [], where="", reasons=[reason]) == f"Not proved: {reason}"
    lost = headline(MODEL, [baseline(TFIDF, 0.9, "worse", 0.01)], where=WHERE, reasons=[reason])
    assert lost.startswith(f"Not proved: {reason}. A baseline wins: {TFIDF}")


def test_p_values_are_written_short():
    assert [p_value(p) for p in (1.0, 0.05, 0.0351, 0.001, 0.0009)] == [
        "p = 1",
        "p = .050",
        "p = .035",
        "p = .001",
        "p < .001",
    ]
