"""benchmarks/routing.py: outcomes are read as they are, and figures are what they are called."""

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks import routing
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import POOLED

HEADER = f"prompt,{routing._SMALL},{routing._LARGE}\n"


def test_outcomes_are_read_of_all_files_of_a_benchmark():
    files = {
        "routing/routellm/mmlu/responses/b.csv": (HEADER + "two,False,True\n").encode(),
        "routing/routellm/mmlu/responses/a.csv": (HEADER + '"one\nline",True,False\n').encode(),
        "routing/routellm/gsm8k/c.csv": (HEADER + "three,True,True\n").encode(),
    }
    found = routing.outcomes(files, "mmlu")
    assert found.prompts == ("one\nline", "two")
    assert list(found.gain) == [-1, 1]
    assert found.take([1]).prompts == ("two",)


@pytest.fixture
def known():
    """Prompts with a word that tells where the large model helps."""
    rng = np.random.default_rng(0)
    hard = rng.random(200) < 0.4
    prompts = tuple(f"{'integral' if one else 'colour'} {number}" for number, one in enumerate(hard))
    small = np.where(hard, 0.0, 1.0)
    return routing.Outcomes(prompts, small, np.ones(200))


def features(outcomes):
    hard = np.array(["integral" in prompt for prompt in outcomes.prompts], dtype=np.float32)
    pooled = np.stack([np.stack([hard, 1 - hard], axis=1)] * len(POOLED), axis=1)
    words = sp.csr_matrix(pooled[:, 0])
    return TextFeatures(pooled, words, words, np.zeros(len(hard), dtype=np.bool_), outcomes.prompts)


def test_every_way_orders_and_the_oracle_is_the_best(known):
    train, test = known.take(np.arange(120)), known.take(np.arange(120, 200))
    scores = routing.ways(train, test, features(train), features(test))
    found = {way: routing.figures(score, test) for way, score in scores.items()}
    assert found["random"]["apgr"] == pytest.approx(0.5, abs=0.02)
    for way in ("help predictor", "TF-IDF + LR, large helps", "oracle"):
        assert found[way]["apgr"] > 0.75
        assert found[way]["cpt50"] < found["random"]["cpt50"]
        assert found[way]["best"] == 1
    assert max(one["apgr"] for one in found.values()) == found["oracle"]["apgr"]


def test_leads_are_paired_over_seeds():
    rows = [
        {"set": "s", "outcomes": 5, "seed": seed, "way": way, "apgr": apgr, "cpt50": 0.1, "cpt80": 0.2, "best": 1.0}
        for seed, shift in enumerate((0.0, 0.1, 0.2))
        for way, apgr in (("help predictor", 0.62 + shift), ("other", 0.6 + shift + seed / 1000))
    ]
    [own, other] = routing.summary(rows)
    assert own["predictor_leads_by"].value == 0
    assert other["predictor_leads_by"].value == pytest.approx(0.019)
    assert other["p"] < 0.05
