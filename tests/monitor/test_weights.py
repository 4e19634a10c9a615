"""Weights beside what their generator's training had."""

import math
from dataclasses import replace

import pytest
import torch
from journals import manifest

from sartor.assets import catalogue
from sartor.monitor.weights import bounds_of, share_of_bounds
from sartor.nn.anchored import to_peft
from sartor.nn.check_adapter import Bounds

SITE = "model.layers.0.self_attn.q_proj"


def adapter(scale=1.0):
    random = torch.Generator().manual_seed(0)
    pair = torch.randn(1, 2, 6, generator=random), scale * torch.randn(1, 5, 2, generator=random)
    return to_peft({SITE: pair}, 0), (pair[1] @ pair[0])[0].double()


def test_the_share_is_of_the_nearer_bound():
    weights, update = adapter()
    norm, stretch = float(update.norm()), float(torch.linalg.svdvals(update)[0])
    near = Bounds({SITE: 2 * norm}, {SITE: 4 * stretch})
    assert share_of_bounds(weights, near) == pytest.approx(0.5, rel=1e-5)
    assert share_of_bounds(weights, Bounds({SITE: 4 * norm}, {SITE: stretch / 3})) == pytest.approx(3.0, rel=1e-5)
    assert share_of_bounds(adapter(10.0)[0], near) == pytest.approx(5.0, rel=1e-5)
    assert share_of_bounds({**weights, "dial": torch.tensor(1.0)}, near) == pytest.approx(0.5, rel=1e-5)


def test_without_bounds_or_without_an_adapter_only_broken_numbers_are_told():
    weights, _ = adapter()
    assert share_of_bounds(weights, None) == 0.0
    assert share_of_bounds({"w": torch.ones(3), "n": torch.tensor([1])}, Bounds({}, {})) == 0.0
    assert share_of_bounds({"w": torch.tensor([1.0, math.nan])}, None) == math.inf
    assert share_of_bounds({**weights, "w": torch.tensor(math.inf)}, None) == math.inf


def test_bounds_are_those_that_come_with_the_generator():
    made = manifest("mails")
    assert bounds_of(made) is None
    name, spec = next((name, one) for name, one in catalogue.language_models().items() if one.generator is not None)
    found = bounds_of(replace(made, base=replace(made.base, name=name)))
    assert found is not None
    assert found.frobenius.keys() == found.spectral.keys()
    assert all(bound > 0 for bound in (*found.frobenius.values(), *found.spectral.values()))
    assert spec.generator is not None
