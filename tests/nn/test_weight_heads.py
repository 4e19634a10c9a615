import functools
import math

import pytest
import torch

from sartor.errors import TaskError
from sartor.nn.anchored import join
from sartor.nn.weight_heads import BasisHead, DirectHead, HyperConvHead

SITES = {
    f"model.layers.{layer}.{kind}": shape
    for layer in (4, 5)
    for kind, shape in (("self_attn.q_proj", (8, 6)), ("mlp.down_proj", (6, 10)))
}


@pytest.fixture
def head():
    torch.manual_seed(0)
    return BasisHead(SITES, width=12, basis=3)


def deltas(adapters):
    return {path: b @ a for path, (a, b) in adapters.items()}


def test_it_starts_where_nothing_is_changed_and_learns(head):
    condition = torch.randn(5, 12)
    assert all(not delta.any() for delta in deltas(head(condition)).values())
    optimiser = torch.optim.SGD(head.parameters(), 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        sum((delta - 1).pow(2).sum() for delta in deltas(head(condition)).values()).backward()
        optimiser.step()
    assert all(delta.abs().sum() > 0 for delta in deltas(head(condition)).values())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in head.parameters())


def moved(head):
    torch.nn.init.normal_(head.small.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    return head


def test_every_site_has_the_shape_it_asks_for_and_another_condition_another_adapter(head):
    found = moved(head)(torch.randn(2, 12, generator=torch.Generator().manual_seed(0)))
    for path, (outputs, inputs) in SITES.items():
        a, b = found[path]
        assert (a.shape, b.shape) == ((2, 3, inputs), (2, outputs, 3))
    assert all((delta[0] - delta[1]).abs().max() > 1e-3 for delta in deltas(found).values())
    places = [delta[0] for path, delta in deltas(found).items() if "q_proj" in path]
    assert not torch.allclose(*places)  # a layer knows its place


def test_a_few_numbers_are_all_that_is_of_a_task(head):
    condition = torch.randn(2, 12)
    payload = moved(head).payload(condition)
    assert payload.shape == (2, len(SITES), 3, 3)
    whole, expanded = head(condition), head.expand(payload)
    assert all(
        torch.equal(one, other) for path in SITES for one, other in zip(whole[path], expanded[path], strict=True)
    )


@pytest.mark.parametrize("dial", [0.0, 0.5, 1.0, 1.5])
def test_anchor_and_generated_part_add_up(head, dial):
    generated = moved(head)(torch.randn(2, 12))
    anchor = {path: (torch.randn(1, 2, i), torch.randn(1, o, 2)) for path, (o, i) in SITES.items()}
    joined = join(anchor, generated, dial)
    for path, delta in deltas(joined).items():
        assert joined[path][0].shape[1] == 5
        wanted = deltas(anchor)[path] + dial * deltas(generated)[path]
        assert torch.allclose(delta, wanted, atol=1e-5)
        if dial == 0:
            assert torch.equal(joined[path][1][:, :, 2:], torch.zeros(2, SITES[path][0], 3))


def test_parts_of_different_sites_are_refused(head):
    generated = head(torch.randn(1, 12))
    anchor = {"model.layers.4.self_attn.q_proj": generated["model.layers.4.self_attn.q_proj"]}
    with pytest.raises(TaskError, match="different sites"):
        join(anchor, generated, 1.0)


def test_a_site_without_a_layer_is_refused():
    with pytest.raises(TaskError, match="names no layer"):
        BasisHead({"lm_head": (3, 3)}, width=4, basis=2)


# --- what holds for every head -----------------------------------------------------------------------------

BY_KIND = {path: SITES[path] for kind in ("q_proj", "down_proj") for path in SITES if path.endswith(kind)}
"""The same sites in another order."""
HEADS = {
    "basis": functools.partial(BasisHead, width=12, basis=3),
    "direct": functools.partial(DirectHead, width=12, latent=8, last=6, rank=3),
    "convolution": functools.partial(HyperConvHead, reads=(2, 5, 4), cascade=((3, 4, 3),), rank=3, columns=2),
}


def made(name, sites=SITES, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HEADS[name](sites, **options)


def given(groups, seed=0, scale=1.0):
    """Return what any head reads: conditions, and tokens of their prompts."""
    random = torch.Generator().manual_seed(seed)
    return scale * torch.randn(groups, 12, generator=random), scale * torch.randn(groups, 2, 5, 4, generator=random)


def stirred(head, std=0.3):
    """Return the head with no number at its start any more."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(std * torch.randn(parameter.shape, generator=random, dtype=parameter.dtype))
    return head


@pytest.mark.parametrize("sites", [SITES, BY_KIND], ids=["by layer", "by kind"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_serves_every_site_in_its_order_and_shape(name, sites):
    head = stirred(made(name, sites))
    found = head(*given(2))
    assert list(found) == list(sites)
    assert head.rank == 3
    for path, (outputs, inputs) in sites.items():
        a, b = found[path]
        assert (a.shape, b.shape) == ((2, 3, inputs), (2, outputs, 3))
    updates = deltas(found)
    first, second = (updates[f"model.layers.{layer}.self_attn.q_proj"] for layer in (4, 5))
    assert (first - second).abs().max() > 1e-3  # a layer knows its place
    assert all((update[0] - update[1]).abs().max() > 1e-4 for update in updates.values())  # and its condition


@pytest.mark.parametrize("name", HEADS)
def test_a_head_starts_at_nothing_moves_at_once_and_all_of_it_within_two_steps(name):
    head = made(name)
    optimiser = torch.optim.SGD(head.parameters(), 0.1)
    moved = {path: torch.zeros(()) for path, _ in head.named_parameters()}
    for step in range(3):
        updates = deltas(head(*given(3)))
        assert all(bool(update.any()) == (step > 0) for update in updates.values())
        optimiser.zero_grad()
        sum((update - 1).square().sum() for update in updates.values()).backward()
        if step < 2:
            moved = {
                path: moved[path] + p.grad.abs().sum() for path, p in head.named_parameters() if p.grad is not None
            }
        optimiser.step()
    assert moved.keys() == dict(head.named_parameters()).keys()
    assert not [path for path, much in moved.items() if not much > 0]


@pytest.mark.parametrize("name", HEADS)
def test_what_a_condition_gives_does_not_depend_on_those_beside_it(name):
    head = stirred(made(name)).double()
    conditions, tokens = (part.double() for part in given(3))
    whole = head(conditions, tokens)
    for at in range(3):
        alone = head(conditions[at : at + 1], tokens[at : at + 1])
        for path in SITES:
            for one, beside in zip(alone[path], whole[path], strict=True):
                torch.testing.assert_close(one[0], beside[at], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_the_start_is_by_the_seed_alone(name):
    def start(seed):
        return [a for a, _ in stirred(made(name, seed=seed), std=0.1)(*given(1)).values()]

    assert all(torch.equal(one, again) for one, again in zip(start(1), start(1), strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(start(1), start(2), strict=True))


@pytest.mark.parametrize("name", ["direct", "convolution"])
def test_a_starts_as_that_of_a_fresh_lora(name):
    wide = {path: (8, 400) for path in SITES}
    for a, b in made(name, wide)(*given(2)).values():
        assert not b.any()
        assert 0.98 < a.abs().max() * math.sqrt(400) <= 1
        assert a.std().item() * math.sqrt(400) == pytest.approx(1 / math.sqrt(3), abs=0.05)


@pytest.mark.parametrize("name", HEADS)
def test_no_sites_are_refused(name):
    with pytest.raises(TaskError, match="There is no site"):
        made(name, {})


@pytest.mark.parametrize("name", ["direct", "convolution"])
def test_a_kind_of_two_shapes_is_refused(name):
    with pytest.raises(TaskError, match=r"q_proj' is \(4, 6\) and in another layer \(8, 6\)"):
        made(name, {**SITES, "model.layers.5.self_attn.q_proj": (4, 6)})


SMOL = {
    f"model.layers.{layer}.{kind}": shape
    for layer in range(30)
    for kind, shape in {
        "self_attn.q_proj": (576, 576),
        "self_attn.v_proj": (192, 576),
        "mlp.down_proj": (576, 1536),
    }.items()
}


@pytest.mark.parametrize(
    ("head", "wanted"), [(BasisHead, 2_273_536), (DirectHead, 10_166_464), (HyperConvHead, 7_159_808)]
)
def test_the_sizes_of_heads_for_smollm2_are_those_that_are_told(head, wanted):
    assert head(SMOL).size == wanted


# --- directly ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_a_direct_head_moves_no_number_further_than_its_weights_are_long(scale):
    head = stirred(made("direct"))
    conditions, _ = given(4, scale=scale)
    for kind, path in enumerate(("model.layers.4.self_attn.q_proj", "model.layers.5.mlp.down_proj")):
        a, b = head(conditions)[path]
        last = head.last[kind]
        numbers = torch.cat([a.flatten(1), b.flatten(1)], dim=1)
        assert ((numbers - last.bias).abs() <= last.weight.norm(dim=1) + 1e-5).all()
        assert (numbers - last.bias).abs().max() > 0.1


# --- by hyper-convolution ----------------------------------------------------------------------------------


def test_sites_are_cut_out_of_blocks_a_by_inputs_and_b_by_outputs():
    head = made("convolution")
    with torch.no_grad():
        head.starts.copy_(torch.arange(head.starts.numel()).view_as(head.starts))
        head.halves.copy_(1000 * torch.arange(1, 5)[:, None, None].expand_as(head.halves))
    found = head(None, given(1)[1])
    begin = {"self_attn.q_proj": (0, 3), "mlp.down_proj": (7, 12)}  # q: 3 of A, 4 of B; down: 5 of A, 3 of B
    for path, (outputs, inputs) in SITES.items():
        layer, kind = int(path.split(".")[2]) - 4, path.split(".", 3)[3]
        a, b = (part[0] for part in found[path])
        for r in range(3):
            for i in range(inputs):
                assert a[r, i] == head.starts[begin[kind][0] + i // 2, r, i % 2] + 1000 * (2 * layer + 1)
            for o in range(outputs):
                assert b[o, r] == head.starts[begin[kind][1] + o // 2, r, o % 2] + 1000 * (2 * layer + 2)


def test_fewer_prompts_and_shorter_ones_are_filled_up_with_zeros():
    head = stirred(made("convolution"))
    _, tokens = given(2)
    tokens[:, 1], tokens[:, :, 3:] = 0, 0
    short, whole = head(None, tokens[:, :1, :3]), head(None, tokens)
    for path in SITES:
        assert all(torch.equal(one, other) for one, other in zip(short[path], whole[path], strict=True))


@pytest.mark.parametrize(
    ("tokens", "told"),
    [
        (None, "none"),
        (torch.zeros(1, 3, 5, 4), r"\(3, 5, 4\)"),
        (torch.zeros(1, 2, 6, 4), r"\(2, 6, 4\)"),
        (torch.zeros(1, 2, 5, 3), r"\(2, 5, 3\)"),
        (torch.zeros(2, 5, 4), r"\(5, 4\)"),
    ],
)
def test_tokens_that_it_cannot_read_are_refused(tokens, told):
    with pytest.raises(TaskError, match=rf"up to 2 prompts of up to 5 tokens, 4 wide; got {told}"):
        made("convolution")(torch.zeros(1, 12), tokens)


@pytest.mark.parametrize("shape", [(8, 7), (7, 6)])
def test_a_site_that_is_no_number_of_blocks_is_refused(shape):
    with pytest.raises(TaskError, match=r"blocks of 2 columns, and the site 'model.*k_proj'.*multiples of 2"):
        made("convolution", {**SITES, "model.layers.4.self_attn.k_proj": shape})


# --- numbers that only a change of meaning can change ------------------------------------------------------

GOLDEN = {
    "basis": [-0.22151831980057463, 0.06268051259219509, 0.31498130968593074, -0.415067639967762],
    "direct": [-0.20925464379204206, -0.3828421336197179, -0.320362817855287, 0.3662871336875015],
    "convolution": [-0.17940524170652225, 1.0144410023574086, 1.2521642544352454, 0.16743210264130667],
}


def waves(name):
    """Return the first numbers of the first and the last site, of a head whose every parameter is a wave."""
    head = made(name).double()
    with torch.no_grad():
        for at, parameter in enumerate(head.parameters()):
            numbers = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.copy_(0.5 * torch.sin((1 + at) * numbers + at).view_as(parameter))
        condition = torch.cos(torch.arange(12.0, dtype=torch.float64))[None]
        tokens = torch.cos(torch.arange(40.0, dtype=torch.float64)).view(1, 2, 5, 4)
        updates = deltas(head(condition, tokens))
    return [
        float(update[0, row, row])
        for update in (updates[next(iter(SITES))], updates[list(SITES)[-1]])
        for row in (0, 5)
    ]


@pytest.mark.parametrize("name", HEADS)
def test_golden(name):
    assert waves(name) == pytest.approx(GOLDEN[name], rel=1e-9)
