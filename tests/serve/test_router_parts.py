"""What help is foretold by, and what may be escalated."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.llm.policy import Policy
from sartor.serve import router_help
from sartor.serve.router_budget import Budget


def problem(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    block = rng.normal(size=(rows, 6))
    gain = np.sign(np.round(block[:, 2] + 0.5 * rng.normal(size=rows)))
    return block, gain


def test_each_row_s_own_score_is_what_the_others_teach():
    block, gain = problem(40)
    found = router_help.fit([block], gain)
    kernel = found.scales[0] * found.support[0] @ found.support[0].T
    ridge = next(
        ridge
        for ridge in router_help._RIDGES
        if np.allclose((kernel + ridge * np.eye(40)) @ found.dual, gain - gain.mean())
    )
    for row in (0, 17, 39):
        others = np.arange(40) != row
        dual = np.linalg.solve(kernel[np.ix_(others, others)] + ridge * np.eye(39), (gain - gain.mean())[others])
        wanted = np.clip(gain.mean() + kernel[row, others] @ dual, -1, 1)
        assert found.left_out[row] == pytest.approx(wanted, abs=1e-9)


def test_new_rows_are_foretold_and_a_block_of_noise_does_not_hurt_much():
    block, gain = problem()
    new, truth = problem(400, seed=1)
    noise = np.random.default_rng(2).normal(size=(520, 50))
    alone = router_help.fit([block], gain).predict([new])
    both = router_help.fit([block, noise[:120]], gain).predict([new, noise[120:]])
    assert np.corrcoef(alone, truth)[0, 1] > 0.6
    assert np.corrcoef(both, truth)[0, 1] > 0.5


def test_sparse_blocks_and_scaled_ones():
    block, gain = problem()
    sparse = sp.csr_matrix(np.maximum(block, 0))
    found = router_help.fit([block * [1, 1, 1e-3, 1, 1, 1e3], sparse], gain, standardised=(0,))
    assert np.corrcoef(found.predict([block * [1, 1, 1e-3, 1, 1, 1e3], sparse]), gain)[0, 1] > 0.5


@pytest.mark.parametrize("gain", [np.ones(50), np.zeros(50), np.array([1.0, 0.0, -1.0])])
def test_from_outcomes_that_tell_nothing_the_mean_is_expected(gain):
    block = np.random.default_rng(0).normal(size=(len(gain), 4))
    found = router_help.fit([block], gain)
    assert np.allclose(found.predict([block]), gain.mean())
    assert np.allclose(found.left_out, gain.mean())


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1),
    st.floats(0, 5000),
    st.lists(st.tuples(st.booleans(), st.integers(1, 300)), min_size=1, max_size=400),
)
def test_whatever_comes_in_whatever_burst_the_limits_hold_at_every_moment(share, per_1k, requests):
    budget = Budget(Policy(max_share=share, max_bytes_per_1k=per_1k))
    spent = 0
    calls = []
    for number, (wants, size) in enumerate(requests, 1):
        budget.request()
        called = wants and budget.spend(size) == ""
        spent += size * called
        calls.append(called)
        assert sum(calls) <= share * number + 1e-6
        assert spent <= per_1k / 1000 * number + 1e-6
    for start in range(len(calls)):
        assert sum(calls[start : start + 50]) <= share * 150 + 1 + 1e-6


def test_without_limits_all_may_go():
    budget = Budget(Policy())
    budget.request()
    assert budget.spend(10**9) == ""


def test_many_threads_do_not_spend_more_than_there_is():
    budget = Budget(Policy(max_share=0.1))

    def work():
        for _ in range(200):
            budget.request()
            budget.spend(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.escalated <= 160
    assert budget.escalated > 100


def test_asking_what_may_go_spends_nothing():
    budget = Budget(Policy(max_share=0.5))
    budget.request()
    assert budget.refusal(1)
    assert budget.refusal(1, coming=1) == ""
    assert budget.escalated == 0
