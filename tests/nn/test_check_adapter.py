import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sartor.errors import BundleError, TaskError
from sartor.nn.check_adapter import Bounds, check_adapter, frobenius_norms, singular_values

Q, DOWN = "model.layers.4.self_attn.q_proj", "model.layers.4.mlp.down_proj"
SITES = {Q: (8, 6), DOWN: (6, 10)}


def drawn(groups=2, rank=3, seed=0, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    return {
        path: (
            torch.randn(groups, rank, inputs, generator=random).to(dtype),
            torch.randn(groups, outputs, rank, generator=random).to(dtype),
        )
        for path, (outputs, inputs) in SITES.items()
    }


def changed(path, *, a=lambda a: a, b=lambda b: b):
    good = drawn()
    return {**good, path: (a(good[path][0]), b(good[path][1]))}


# --- how large an update is --------------------------------------------------------------------------------


@given(rank=st.integers(1, 5), outputs=st.integers(5, 9), inputs=st.integers(5, 9), seed=st.integers(0, 99))
@hypothesis_settings(max_examples=40, deadline=None)
def test_norms_and_singular_values_are_those_of_the_whole_update(rank, outputs, inputs, seed):
    random = torch.Generator().manual_seed(seed)
    a = torch.randn(3, rank, inputs, generator=random, dtype=torch.float64)
    b = torch.randn(3, outputs, rank, generator=random, dtype=torch.float64)
    found = singular_values(a, b)
    assert found.shape == (3, rank)
    torch.testing.assert_close(found, torch.linalg.svdvals(b @ a)[:, :rank], atol=1e-6, rtol=1e-9)
    torch.testing.assert_close(frobenius_norms(a, b), torch.linalg.matrix_norm(b @ a), atol=1e-10, rtol=1e-10)


def test_the_largest_is_exact_where_the_factors_are_lopsided_or_have_no_full_rank():
    a, b = (factor.double() for factor in drawn(rank=4)[Q])
    a[:, 3] = a[:, 2]
    b[:, :, 1] = 0
    a, b = a * 1e-4, b * 1e4
    found, whole = singular_values(a, b), torch.linalg.svdvals(b @ a)[:, :4]
    torch.testing.assert_close(found[:, :2], whole[:, :2], atol=0, rtol=1e-12)
    assert found[:, 2:].max() < 1e-6


def test_a_rank_beyond_the_smaller_side_does_no_harm():
    a, b = drawn(rank=9)[Q]
    assert singular_values(a, b).shape == (2, 9)
    torch.testing.assert_close(singular_values(a, b)[:, :6], torch.linalg.svdvals(b.double() @ a.double())[:, :6])


def test_zero_has_no_size():
    a, b = drawn()[Q]
    assert not singular_values(a, 0 * b).any()
    assert not frobenius_norms(a, 0 * b).any()


# --- bounds ------------------------------------------------------------------------------------------------


def test_bounds_are_the_largest_there_was_times_the_slack():
    batches = [drawn(seed=seed) for seed in range(3)]
    bounds = Bounds.from_adapters(batches, slack=1.5)
    for path in SITES:
        updates = torch.cat([batch[path][1].double() @ batch[path][0].double() for batch in batches])
        assert bounds.frobenius[path] == pytest.approx(1.5 * float(torch.linalg.matrix_norm(updates).max()))
        assert bounds.spectral[path] == pytest.approx(1.5 * float(torch.linalg.svdvals(updates).max()))


@given(seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=4), groups=st.integers(1, 3))
@hypothesis_settings(max_examples=20, deadline=None)
def test_what_bounds_were_learned_from_keeps_within_them(seeds, groups):
    batches = [drawn(groups, seed=seed) for seed in seeds]
    bounds = Bounds.from_adapters(iter(batches), slack=1.0)
    for batch in batches:
        check_adapter(batch, SITES, bounds)


@pytest.mark.parametrize("slack", [0.9, -1.0, math.nan, math.inf])
def test_a_slack_below_one_is_refused(slack):
    with pytest.raises(TaskError, match="from 1 on; got"):
        Bounds.from_adapters([drawn()], slack=slack)


def test_bounds_need_adapters_of_the_same_sites_and_of_real_numbers():
    with pytest.raises(TaskError, match="there is none"):
        Bounds.from_adapters([])
    with pytest.raises(TaskError, match="different ones"):
        Bounds.from_adapters([drawn(), {Q: drawn()[Q]}])
    with pytest.raises(BundleError, match=r"broken at '.*q_proj'"):
        Bounds.from_adapters([changed(Q, b=lambda b: b * math.nan)])


# --- the check ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_good_adapter_passes_in_any_precision(dtype):
    bounds = Bounds.from_adapters([drawn()])
    check_adapter(drawn(dtype=dtype), SITES, bounds)
    check_adapter(drawn(dtype=dtype), SITES)


@pytest.mark.parametrize("factor", ["a", "b"])
@pytest.mark.parametrize("path", list(SITES))
def test_one_number_that_is_none_is_found_wherever_it_is(path, factor):
    for value in (math.nan, math.inf, -math.inf):

        def spoiled(tensor, value=value):
            tensor = tensor.clone()
            tensor[-1, -1, -1] = value
            return tensor

        with pytest.raises(BundleError, match=rf"broken at '{path}': 1 of the \d+ numbers of its {factor.upper()}"):
            check_adapter(changed(path, **{factor: spoiled}), SITES)


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (changed(Q, a=lambda a: a[:, :, :5]), rf"does not fit at '{Q}': A \(2, 3, 5\).*\(G, r, 6\)"),
        (changed(DOWN, b=lambda b: b.mT), rf"does not fit at '{DOWN}'"),
        (changed(DOWN, a=lambda a: a[:, :2], b=lambda b: b[:, :, :2]), rf"does not fit at '{DOWN}'.*first site"),
        (changed(DOWN, a=lambda a: a[:1], b=lambda b: b[:1]), rf"does not fit at '{DOWN}'"),
        (changed(Q, a=lambda a: a[0]), rf"does not fit at '{Q}'"),
        ({path: (a[:0], b[:0]) for path, (a, b) in drawn().items()}, rf"does not fit at '{Q}'"),
        ({path: (a[:, :0], b[:, :, :0]) for path, (a, b) in drawn().items()}, rf"does not fit at '{Q}'"),
        ({path: (torch.ones(3), torch.ones(3)) for path in SITES}, rf"does not fit at '{Q}'"),
        (changed(Q, b=lambda b: b.to(torch.int8)), rf"torch.int8 at '{Q}'"),
        ({Q: drawn()[Q]}, rf"no part at '{DOWN}'"),
        ({}, rf"no part at '{Q}'"),
        ({**drawn(), Q.replace("q_", "qq_"): drawn()[Q]}, r"a part at '.*qq_proj'.* Did you mean '.*q_proj'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(adapter, message):
    with pytest.raises(BundleError, match=message):
        check_adapter(adapter, SITES)


def test_an_adapter_for_nothing_is_refused():
    with pytest.raises(BundleError, match="for no site"):
        check_adapter({}, {})


def test_an_update_too_large_at_one_site_of_one_adapter_is_refused():
    bounds = Bounds.from_adapters([drawn()], slack=2.0)

    def second_tripled(b):
        return torch.cat([b[:1], b[1:] * 30])

    with pytest.raises(BundleError, match=rf"too large at '{DOWN}': the Frobenius norm .* a smaller dial"):
        check_adapter(changed(DOWN, b=second_tripled), SITES, bounds)


def test_an_update_that_stretches_one_direction_too_far_is_refused_though_its_norm_is_usual():
    flat = {path: (torch.eye(3, i)[None], torch.eye(o, 3)[None]) for path, (o, i) in SITES.items()}
    bounds = Bounds.from_adapters([flat], slack=1.1)  # norm 1.1 sqrt(3), stretch 1.1
    sharp = {**flat, Q: (flat[Q][0], flat[Q][1] * torch.tensor([1.5, 0.1, 0.1]))}
    assert float(frobenius_norms(*sharp[Q]).max()) < bounds.frobenius[Q]
    with pytest.raises(BundleError, match=rf"too large at '{Q}': the largest singular value of its update is 1\.5,"):
        check_adapter(sharp, SITES, bounds)


def test_sizes_beyond_any_number_are_refused_and_no_crash():
    bounds = Bounds.from_adapters([drawn()])
    huge = {path: (a.double() * 1e200, b.double() * 1e200) for path, (a, b) in drawn().items()}
    lopsided = {path: (a.double() * 1e200, b.double() * 0) for path, (a, b) in drawn().items()}
    for adapter in (huge, lopsided):
        with pytest.raises(BundleError, match=rf"too large at '{Q}'"):
            check_adapter(adapter, SITES, bounds)


def test_a_site_without_a_bound_is_refused():
    bounds = Bounds.from_adapters([{Q: drawn()[Q]}])
    with pytest.raises(BundleError, match=rf"Nothing is known .* at '{DOWN}'"):
        check_adapter(drawn(), SITES, bounds)
