"""The benchmark of what is unusual, on a tiny net and few pictures."""

import numpy as np
import pytest

import tiny_pictures
from benchmarks import unusual
from sartor.nn.unusual import encode_maps


def encode(pictures):
    return encode_maps(tiny_pictures.net(), pictures, tiny_pictures.SIDE)


@pytest.fixture
def data(tmp_path):
    for kind, number in (("nominal", 16), ("global", 8), ("local", 8)):
        folder = tmp_path / "textile_images" / "simulated" / kind
        folder.mkdir(parents=True)
        for at in range(number):
            tiny_pictures.picture_of(f"{kind} {at}" * (at + 1)).save(folder / f"{at}.jpg")
    return tmp_path


def test_each_arm_scores_the_same_pictures(data):
    product = unusual.textiles(data, encode, few=8)
    assert [len(part) for part in (product.pool, product.good, *product.bad.values())] == [8, 8, 8, 8]
    rows = list(unusual.measure(product, 5, seed=1))
    assert {row["arm"] for row in rows} == {"model", "pooled", "neighbour", "pixels", "patches"}
    assert {row["kind"] for row in rows} == {"global", "local"}
    assert all(0 <= row["auroc"] <= 1 for row in rows)
    again = list(unusual.measure(product, 5, seed=1))
    assert [row["auroc"] for row in again] == [row["auroc"] for row in rows]


def test_stains_are_drawn_anew_for_each_product():
    products = list(unusual.stains(encode, products=2, pool=4, each=3, side=32))
    assert len({product.name for product in products}) == 2
    assert [len(product.bad["stains"]) for product in products] == [3, 3]
    assert not np.array_equal(products[0].good.pooled, products[0].bad["stains"].pooled)


def test_the_summary_is_paired_over_seeds_or_over_products():
    def row(product, seed, arm, auroc):
        more = (
            {"false_alarms": 0.1, "found": 0.5, "generate_seconds": 1, "score_seconds": 0.01} if arm == "model" else {}
        )
        return {
            "set": "s",
            "kind": "k",
            "good": 5,
            "product": product,
            "seed": seed,
            "arm": arm,
            "auroc": auroc,
            **more,
        }

    rows = [row("p", seed, *one) for seed in (0, 1, 2) for one in (("model", 0.9 + 0.01 * seed), ("pooled", 0.7))]
    model, pooled = unusual.summarise(rows)
    assert model["auroc"].value == pytest.approx(0.91)
    assert pooled["ahead"].value == pytest.approx(0.21)
    assert pooled["verdict"] == "better"
    several = [row(product, seed, "model", value) for product, value in (("a", 0.5), ("b", 0.7)) for seed in (0, 1)]
    found = unusual.summarise(several)[0]["auroc"]
    assert (found.value, found.low) == pytest.approx((0.6, 0.6 - 12.7062 * 0.1), abs=1e-3)
    assert "+0.210 better" in unusual.told(unusual.summarise(rows))
