import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sartor.errors import BundleError, TaskError
from sartor.nn.anchored import from_peft, join, stacked, to_peft

SITES = {
    f"model.layers.{layer}.{kind}": shape
    for layer in (4, 5)
    for kind, shape in (("self_attn.q_proj", (8, 6)), ("mlp.down_proj", (6, 10)))
}
Q = "model.layers.4.self_attn.q_proj"


def drawn(groups, rank, seed=0):
    random = torch.Generator().manual_seed(seed)
    return {
        path: (
            torch.randn(groups, rank, inputs, generator=random),
            torch.randn(groups, outputs, rank, generator=random),
        )
        for path, (outputs, inputs) in SITES.items()
    }


def through(x, a, b):
    return x @ a.mT @ b.mT


def test_at_dial_zero_an_input_goes_through_the_anchor_alone_to_the_last_bit():
    anchor, joined = drawn(1, 2), join(drawn(1, 2), drawn(3, 4, seed=1), 0.0)
    for path, (a, b) in joined.items():
        a0, b0 = (part.expand(3, -1, -1) for part in anchor[path])
        assert torch.equal(a[:, :2], a0)
        assert torch.equal(b[:, :, :2], b0)
        assert not b[:, :, 2:].any()
        # whole numbers, so that no order of summing can make a difference
        x = torch.randint(-4, 5, (3, 5, SITES[path][1]), generator=torch.Generator().manual_seed(2)).float()
        whole = [part.mul(4).round() for part in (a, b, a0, b0)]
        assert torch.equal(through(x, *whole[:2]), through(x, *whole[2:]))


@given(dial=st.floats(0, 3), groups=st.integers(1, 3), own=st.booleans())
@hypothesis_settings(max_examples=25, deadline=None)
def test_the_joined_update_is_the_anchors_and_dial_times_the_generated(dial, groups, own):
    anchor, generated = drawn(groups if own else 1, 2), drawn(groups, 4, seed=1)
    for path, (a, b) in join(anchor, generated, dial).items():
        outputs, inputs = SITES[path]
        assert (a.shape, b.shape) == ((groups, 6, inputs), (groups, outputs, 6))
        (a0, b0), (a1, b1) = anchor[path], generated[path]
        torch.testing.assert_close(b @ a, b0 @ a0 + dial * (b1 @ a1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dial", [-0.1, float("nan"), float("inf")])
def test_a_dial_that_is_none_is_refused(dial):
    with pytest.raises(TaskError, match="from 0 on; got"):
        join(drawn(1, 2), drawn(1, 4), dial)


# --- PEFT's names ------------------------------------------------------------------------------------------


def test_names_are_those_of_peft_and_an_adapter_is_cut_out_of_its_batch():
    batch = drawn(3, 4)
    stored = to_peft(batch, 1)
    assert set(stored) == {f"base_model.model.{path}.lora_{part}.weight" for path in SITES for part in "AB"}
    a, b = stored[f"base_model.model.{Q}.lora_A.weight"], stored[f"base_model.model.{Q}.lora_B.weight"]
    assert torch.equal(a, batch[Q][0][1])
    assert torch.equal(b, batch[Q][1][1])
    for tensor in stored.values():
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4  # not the whole batch


def test_what_is_stored_no_longer_changes_with_the_generator():
    batch = {path: (a.requires_grad_(), b) for path, (a, b) in drawn(1, 2).items()}
    stored = to_peft(batch, 0)
    before = {name: tensor.clone() for name, tensor in stored.items()}
    with torch.no_grad():
        for a, b in batch.values():
            a.zero_(), b.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in stored.items())


@given(groups=st.integers(1, 4), rank=st.integers(1, 5), data=st.data())
@hypothesis_settings(max_examples=20, deadline=None)
def test_out_and_in_again_is_the_same_adapter(groups, rank, data):
    index = data.draw(st.integers(0, groups - 1))
    batch = drawn(groups, rank)
    found = from_peft(to_peft(batch, index))
    assert list(found) == list(SITES)
    for path, (a, b) in found.items():
        assert torch.equal(a, batch[path][0][index : index + 1])
        assert torch.equal(b, batch[path][1][index : index + 1])


@pytest.mark.parametrize("index", [-1, 3])
def test_a_number_that_no_adapter_has_is_refused(index):
    with pytest.raises(TaskError, match="there are 3"):
        to_peft(drawn(3, 2), index)


def test_no_site_is_no_adapter():
    with pytest.raises(TaskError, match="no adapter number 0"):
        to_peft({}, 0)
    with pytest.raises(BundleError, match="empty"):
        from_peft({})


def test_two_ranks_are_refused_on_both_ways():
    mixed = {**drawn(1, 2), Q: drawn(1, 3)[Q]}
    with pytest.raises(BundleError, match=r"rank 3 at 'model.*q_proj' and of rank 2"):
        to_peft(mixed, 0)
    stored = {**to_peft(drawn(1, 2), 0), **to_peft({Q: drawn(1, 3)[Q]}, 0)}
    with pytest.raises(BundleError, match="one rank everywhere"):
        from_peft(stored)


NAME = f"base_model.model.{Q}.lora_A.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {**w, f"base_model.model.{Q}.lora_magnitude_vector": torch.ones(3)}, "lora_magnitude_vector"),
        (lambda w: {**w, f"{Q}.lora_A.weight": w[NAME]}, r"known are base_model\.model"),
        (lambda w: {**w, "base_model.model..lora_A.weight": w[NAME]}, "has a tensor"),
        (lambda w: {name: tensor for name, tensor in w.items() if name != NAME}, r"no lora_A\.weight at .*q_proj"),
        (lambda w: {**w, NAME: torch.ones(5, 6)}, r"do not fit each other at .*\(5, 6\)"),
        (lambda w: {**w, NAME: torch.ones(6)}, r"do not fit each other at .*\(6,\)"),
    ],
)
def test_what_is_no_plain_lora_is_refused(change, message):
    with pytest.raises(BundleError, match=message):
        from_peft(change(to_peft(drawn(1, 2), 0)))


# --- beside each other -------------------------------------------------------------------------------------


def test_stacked_adapters_do_for_each_row_what_its_own_does():
    small, large = drawn(1, 2), drawn(1, 5, seed=1)
    del large[Q]
    beside = stacked([small, None, large, small])
    assert beside is not None
    assert beside.keys() == SITES.keys()
    for path, (a, b) in beside.items():
        x = torch.randn(4, 3, SITES[path][1], generator=torch.Generator().manual_seed(2))
        found = through(x, a, b)
        for row, own in enumerate((small, None, large, small)):
            if own is None or path not in own:
                assert not found[row].any()
            else:
                torch.testing.assert_close(found[row], through(x[row], *(part[0] for part in own[path])))


def test_rows_without_any_adapter_have_none_together():
    assert stacked([None, None]) is None
    assert stacked([]) is None
