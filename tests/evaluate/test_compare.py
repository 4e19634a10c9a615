import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sartor.evaluate.compare import mcnemar, paired, paired_difference

COUNTS = st.integers(0, 40)


def answers(both, only_model, only_baseline, neither):
    """Targets and two one-hot answers with these counts."""
    n = both + only_model + only_baseline + neither
    model_right = np.repeat([True, True, False, False], [both, only_model, only_baseline, neither])
    baseline_right = np.repeat([True, False, True, False], [both, only_model, only_baseline, neither])
    one_hot = np.eye(2)
    return np.zeros(n, dtype=np.int64), one_hot[(~model_right).astype(int)], one_hot[(~baseline_right).astype(int)]


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (6, 0, 0.03125),
        (12, 3, 0.03515625),
        (5, 0, 0.0625),
        (0, 0, 1.0),
        (4, 4, 1.0),
        (121, 59, 4.434e-6),  # statsmodels, mcnemar([[101, 121], [59, 33]], exact=True)
        (6, 16, 0.0524788),  # the table of Cavo et al. (2012), see below
    ],
)
def test_mcnemars_exact_test_gives_the_known_values(wins, losses, p):
    assert mcnemar(wins, losses) == pytest.approx(p, rel=1e-3)


@given(COUNTS, COUNTS)
def test_the_p_value_is_that_of_a_binomial_test(wins, losses):
    expected = binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert mcnemar(wins, losses) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Cavo et al. (2012), in Fagerland, Lydersen, Laake (2017), chapter 8: -0.0621 (-0.1186 to -0.0046).
        ((59, 6, 16, 80), -0.1186, -0.0046),
    ],
)
def test_newcombes_interval_gives_the_published_values(table, low, high):
    found = paired_difference(*table)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_interval_holds_the_difference_and_turns_with_the_sides(both, first, second, neither):
    if not both + first + second + neither:
        return
    found = paired_difference(both, first, second, neither)
    turned = paired_difference(both, second, first, neither)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [((50, 6, 0, 4), "better"), ((50, 0, 6, 4), "worse"), ((50, 5, 0, 4), "tie"), ((50, 0, 0, 0), "tie")],
)
def test_a_verdict_takes_a_p_below_5_percent(counts, verdict):
    found = paired(*answers(*counts))
    assert (found.wins, found.losses) == counts[1:3]
    assert found.verdict == verdict
    assert found.difference.value == pytest.approx((counts[1] - counts[2]) / sum(counts))
