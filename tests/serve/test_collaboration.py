"""Small and large together, beside the controls."""

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from sartor.errors import DataError, EgressRefused
from sartor.llm import connect
from sartor.llm.policy import Policy
from sartor.serve import collaboration
from sartor.serve.collaboration import apgr, deferral_curve
from sartor.settings import Settings
from sartor.types import Example
from unsure_small import LABELS, UnsureSmall, gold, rows

MASK = Policy(default_action="mask")


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "home", tmp_path / "cache", offline=True)


def found(settings, examples, spec="scripted:accuracy=0.95", policy=MASK):
    large = connect(spec, policy, settings, gold=gold(examples), labels=LABELS)
    return collaboration.evaluate(UnsureSmall(), large, examples, policy)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("collaboration")
    return found(Settings(folder, folder, offline=True), rows(500))


def by(result, name):
    return [arm for arm in result.arms if arm.arm == name]


def test_arms_come_in_order_and_their_figures_fit(usual):
    assert [arm.arm for arm in usual.arms] == [
        *("small-only", "large-only"),
        *["collaboration"] * 3,
        *["random-mix"] * 3,
        "oracle",
    ]
    [small], [large], [oracle] = (by(usual, name) for name in ("small-only", "large-only", "oracle"))
    assert (small.calls_per_1k, small.bytes_out_per_1k, small.cost_ratio) == (0, 0, 0)
    assert (large.calls_per_1k, large.cost_ratio) == (1000, pytest.approx(1))
    assert large.quality.value == pytest.approx(0.95, abs=0.03)
    assert oracle.quality.value > large.quality.value
    for arm, share in zip(by(usual, "collaboration"), collaboration.SHARES, strict=True):
        assert arm.threshold is not None
        assert arm.calls_per_1k / 1000 == pytest.approx(share, abs=0.05)
        assert arm.cost_ratio == pytest.approx(share, abs=0.06)
        assert arm.bytes_out_per_1k == pytest.approx(large.bytes_out_per_1k * arm.calls_per_1k / 1000, rel=0.05)
    for arm, mix in zip(by(usual, "collaboration"), by(usual, "random-mix"), strict=True):
        assert mix.calls_per_1k == pytest.approx(arm.calls_per_1k)
        assert arm.quality.value > mix.quality.value
    assert all(arm.quality.low <= arm.quality.value <= arm.quality.high for arm in usual.arms)


def test_the_curve_goes_from_the_small_to_the_large_model(usual):
    [small], [large] = by(usual, "small-only"), by(usual, "large-only")
    assert usual.curve[0] == (0, pytest.approx(small.quality.value))
    assert usual.curve[-1] == (1, pytest.approx(large.quality.value))
    assert usual.apgr.low > 0.5
    assert usual.recovered.value > 0.25
    assert small.quality.value < usual.auc < large.quality.value + 0.05


def test_it_is_the_same_each_time(settings, usual):
    again = found(settings, rows(500))
    quality = [[arm.quality for arm in one.arms] for one in (again, usual)]
    assert quality[0] == quality[1]
    assert again.apgr == usual.apgr


def test_rows_with_personal_data_stay_here_where_it_blocks_and_are_masked_where_it_masks(settings):
    examples = [
        Example(f"{row.input} a{at}@b.example" if at % 2 else row.input, row.output) for at, row in enumerate(rows(100))
    ]
    blocked = found(settings, examples, policy=Policy())
    assert blocked.withheld == 50
    assert [note.topic for note in blocked.notes] == ["withheld"]
    assert by(blocked, "large-only")[0].calls_per_1k == 500
    masked = found(settings, examples)
    assert masked.withheld == 0
    assert {arm.pii_leaked_per_1k for arm in (*blocked.arms, *masked.arms)} == {0}
    allowed = found(settings, examples, policy=Policy(default_action="allow"))
    assert by(allowed, "large-only")[0].pii_leaked_per_1k == 500


def test_a_large_model_that_is_worse_gives_no_gap(settings):
    result = found(settings, rows(200), "scripted:accuracy=0.1")
    assert result.apgr is None
    assert result.recovered is None
    assert [note.topic for note in result.notes] == ["gap"]
    assert by(result, "collaboration")[0].quality.value > by(result, "large-only")[0].quality.value


def test_what_the_large_model_fails_at_is_answered_by_the_small_one(settings):
    result = found(settings, rows(120), "scripted:accuracy=1,failures=0.7")
    assert result.unanswered > 5
    assert "unanswered" in [note.topic for note in result.notes]
    [small] = by(result, "small-only")
    assert result.curve[-1][1] >= small.quality.value


def test_without_a_policy_nothing_is_sent(settings):
    large = connect("http://127.0.0.1:9/v1", Policy(), settings)
    with pytest.raises(EgressRefused):
        collaboration.evaluate(UnsureSmall(), large, rows(60), Policy())
    large.close()


def test_few_rows_are_refused(settings):
    with pytest.raises(DataError, match="50 at least"):
        found(settings, rows(49))


def test_the_picture_is_a_picture(usual):
    root = ET.fromstring(collaboration.to_svg(usual))
    assert root.tag.endswith("svg")
    assert len(root.findall("{*}circle")) == 3
    assert len(root.findall("{*}polyline")) == 3


def test_apgr_by_hand():
    difference = np.array([1.0, 0.0, 0.0, 1.0])
    assert list(deferral_curve(np.array([4.0, 3.0, 2.0, 1.0]), difference)) == [0, 0.25, 0.25, 0.25, 0.5]
    # asked at random, or with no opinion, half the gap is recovered on average
    assert apgr(np.zeros(4), difference) == 0.5
    assert apgr(np.array([4.0, 1.0, 2.0, 3.0]), difference) == pytest.approx((0 + 0.25 + 0.5 * 3) / 5 / 0.5)
    assert math.isnan(apgr(np.zeros(4), -difference))
