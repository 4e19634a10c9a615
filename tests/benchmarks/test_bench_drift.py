import sys

import numpy as np
import pytest
from benchmarks.drift_streams import DRIFTS, Answered, Material

from benchmarks import drift, drift_peers, drift_streams

DRIFT = {one.name: one for one in DRIFTS}


def answered(rows, *, shift=0.0, label=None, seed=0):
    rng = np.random.default_rng(seed)
    return Answered(
        projection=(rng.standard_normal((rows, 8)) + shift).astype(np.float32),
        label=np.full(rows, label) if label else rng.choice(np.array(["a", "b", "c"]), rows),
        confidence=rng.beta(8, 2, rows),
        abstain=rng.random(rows) < 0.05,
        length=rng.integers(10, 90, rows),
        right=rng.random(rows) < (0.9 if not shift else 0.0),
    )


@pytest.fixture(scope="module")
def material():
    drifted = {one.rows: answered(50, shift=3.0, seed=1, label="other one") for one in DRIFTS if one.rows}
    truth = np.random.default_rng(2).integers(3, size=300)
    return Material("tiny", 3, answered(300), truth, drifted, 0.9)


def test_texts_are_drifted_as_their_names_say():
    rng = np.random.default_rng(0)
    text = "I was charged twice for the same card payment and want my money back"
    wrong = drift_streams.typos(text * 20, rng, share=0.2)
    assert wrong != text * 20
    assert abs(len(wrong) - len(text * 20)) < 100
    assert drift_streams.typos(text, rng, share=0.0) == text
    assert drift_streams.shorter(text) == "I was charged twice for the same"
    assert text in drift_streams.template(text, 3)


def test_streams_drift_from_the_onset_on_by_the_share_that_is_said(material):
    reference, stream = drift_streams.planted(material, DRIFT["new topic"], 100, 0)
    assert (len(reference), len(stream)) == (drift_streams.REFERENCE, 100 + drift_streams.AFTER)
    hit = stream.label == "other one"
    assert not hit[:100].any()
    assert hit[100:].mean() == pytest.approx(0.3, abs=0.03)
    block = drift_streams.planted(material, DRIFT["adversarial block"], 100, 0)[1].label == "other one"
    assert block[100:300].mean() == pytest.approx(0.8, abs=0.1)
    assert not block[300:].any()
    rot = drift_streams.planted(material, DRIFT["slow rot"], 0, 0)[1].label == "other one"
    assert rot[:400].mean() < 0.06
    assert rot[-400:].mean() == pytest.approx(0.475, abs=0.1)
    again = drift_streams.planted(material, DRIFT["new topic"], 100, 0)[1]
    assert (again.confidence == stream.confidence).all()


def test_without_drift_reference_and_stream_are_of_the_same_rows(material):
    reference, stream = drift_streams.stationary(material, 2000, 1)
    assert {*stream.confidence, *reference.confidence} <= {*material.usual.confidence}


def test_a_planted_drift_is_found_by_us_and_the_rows_tell_when(material, tmp_path):
    reference, stream = drift_streams.planted(material, DRIFT["language change"], drift.BEFORE, 0)
    found = drift.until_alert(material, DRIFT["language change"], reference, stream, 0)
    assert [one.detector for one in found] == [drift.OURS, drift.UNJUDGED]
    assert all(one.requests is not None and 0 < one.requests <= 400 for one in found)
    drift.save(tmp_path / "tiny__language change__0.npz", reference, stream, drift.BEFORE)
    with np.load(tmp_path / "tiny__language change__0.npz", allow_pickle=False) as arrays:
        assert int(arrays["onset"]) == drift.BEFORE
        assert (arrays["stream.confidence"] == stream.confidence).all()


def test_what_is_never_found_counts_as_longest():
    rows = [{"detector": "x", "kind": "typos", "delay": delay} for delay in (10, 30, None)]
    rows += [{"detector": "x", "kind": "stationary", "alerts": count} for count in (0, 1, 2)]
    found = drift.summarise(rows)["x"]
    assert found["false_alarms"].value == 1.0
    typos = found["drift"]["typos"]
    assert (typos["median"].value, typos["median"].high) == (30, drift.AFTER)
    assert (typos["found"], typos["of"]) == (2, 3)
    assert "(2/3)" in drift.to_table({"x": found})


def test_peers_that_are_not_installed_are_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(drift_peers, "version", lambda name: (_ for _ in ()).throw(drift_peers.PackageNotFoundError))
    monkeypatch.setattr(sys, "argv", ["drift_peers", str(tmp_path), str(tmp_path / "peers.json")])
    assert drift_peers.detectors() == ({}, {"river": "not installed", "evidently": "not installed"})
    drift_peers.main()
    assert not (tmp_path / "peers.json").exists()


def test_a_peer_sees_the_reference_first_and_alarms_where_any_of_its_numbers_does():
    class Above:
        def __init__(self):
            self.seen, self.drift_detected = 0, False

        def update(self, value):
            self.seen += 1
            self.drift_detected = self.seen > 5 and value > 0.9

    rows = {"confidence": np.array([0.95, 0.1, 0.95]), "length": np.array([0, 0, 0]), "label": np.array(["a"] * 3)}
    assert list(drift_peers.river(Above, "confidence")(rows, rows)) == [3]


def test_there_are_eight_kinds():
    assert set(DRIFT) == {
        *("new topic", "language change", "label shift", "length", "typos", "template change"),
        *("adversarial block", "slow rot"),
    }
