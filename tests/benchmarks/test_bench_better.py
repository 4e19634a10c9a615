"""The benchmarks of what makes models better and smaller: their sums, on figures made up here."""

import numpy as np
import pytest

from benchmarks import compression, finetune, selection


def test_losses_are_pooled_over_rows_not_over_sets():
    rows = [
        {"rows": 1000, "lost": 10, "gained": 4, "agreement": 0.98},
        {"rows": 100, "lost": 0, "gained": 0, "agreement": 1.0},
    ]
    loss = compression.pooled(rows)["loss"]
    assert (loss["rows"], loss["negative_flips"], loss["gained"]) == (1100, 10, 4)
    assert loss["value"] == pytest.approx(6 / 1100)
    assert loss["low"] < loss["value"] < loss["high"]
    assert loss["agreement"] == pytest.approx(1080 / 1100)


def test_speed_is_told_batch_by_batch():
    told = {
        "torch": {"throughput": [{"batch": 1, "per_second": 10}, {"batch": 64, "per_second": 20}]},
        "int8": {"throughput": [{"batch": 1, "per_second": 15}, {"batch": 64, "per_second": 60}]},
    }
    assert compression.ratio(told, "int8") == {"1": 1.5, "64": 3.0}


def test_wrong_labels_are_wrong_and_as_many_as_asked_for():
    truth = np.arange(200) % 5
    given, wrong = selection.noisy(truth, 5, 0.1)
    assert wrong.sum() == 20
    assert ((given != truth) == wrong).all()
    assert (selection.noisy(truth, 5, 0.0)[0] == truth).all()


def test_random_halves_keep_labels_in_their_shares_and_differ():
    given = np.repeat([0, 1], [60, 20])
    one, other = (selection.random_half(given, 40, seed) for seed in (0, 1))
    assert np.bincount(given[one]).tolist() == [30, 10]
    assert one.tolist() != other.tolist()


def test_steps_to_the_best_of_plain():
    rows = [
        {"set": "a", "seed": 0, "way": "generated, lora", "curve": [(0, 1.0, 0.7), (4, 2.0, 0.8)]},
        {"set": "a", "seed": 0, "way": "plain, lora", "curve": [(0, 1.0, 0.5), (64, 9.0, 0.7)]},
        {"set": "a", "seed": 0, "way": "plain, full", "curve": [(0, 1.0, 0.5), (64, 9.0, 0.6)]},
    ]
    found = finetune.summed(rows)["a, 0"]
    assert found["best_of_plain"] == 0.7
    assert found["steps_to_best"] == {"generated, lora": 0, "plain, lora": 64, "plain, full": None}
