import functools
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sartor.errors import BundleError, DataError, TaskError
from sartor.nn.decoder import Decoder, DecoderConfig, rows_of, sites
from sartor.nn.generation import generate, stream

CONFIG = DecoderConfig(
    vocab_size=40,
    hidden=24,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    intermediate=40,
    max_positions=32,
)
PROMPTS = [[3, 1, 4, 1, 5], [9], [2, 6, 5], [3, 5, 8, 9, 7, 9, 3, 2], [11, 12]]


@functools.cache
def decoder() -> Decoder:
    made = Decoder(CONFIG).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5 + float("norm" in name))
    return made.eval().requires_grad_(False)


def adapters(groups: int):
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4

    return {path: (random(groups, 2, i), random(groups, o, 2)) for path, (o, i) in sites(decoder(), ["v_proj"]).items()}


def slowly(prompt, adapter=None, new=8, stop_ids=()):
    """Greedy generation that reads everything again for each token."""
    ids = list(prompt)
    while len(ids) < len(prompt) + new:
        logits = decoder().logits(decoder()(torch.tensor([ids]), adapters=adapter)[0, -1])
        if int(logits.argmax()) in stop_ids:
            break
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


def answers(prompts=PROMPTS, **options):
    return generate(decoder(), prompts, **{"max_new_tokens": 8, "stop_ids": (), **options})


# --- greedy ------------------------------------------------------------------------------------------------


def test_a_batch_of_different_lengths_is_as_one_by_one_without_a_cache():
    wanted = [slowly(prompt) for prompt in PROMPTS]
    assert len({tuple(answer) for answer in wanted}) == len(PROMPTS)
    assert answers() == wanted


@given(st.lists(st.lists(st.integers(0, 39), min_size=1, max_size=9), max_size=4))
@hypothesis_settings(max_examples=20, deadline=None)
def test_any_batch_is_as_one_by_one(prompts):
    assert answers(prompts, max_new_tokens=4) == [answers([prompt], max_new_tokens=4)[0] for prompt in prompts]


def test_several_adapters_in_a_batch_are_as_each_alone():
    mine = adapters(len(PROMPTS))
    got = answers(adapters=mine)
    assert got == [slowly(prompt, rows_of(mine, torch.tensor([at]))) for at, prompt in enumerate(PROMPTS)]
    assert got != answers()


def test_one_adapter_serves_all_rows():
    one = adapters(1)
    assert answers(adapters=one) == [slowly(prompt, one) for prompt in PROMPTS]


@pytest.mark.parametrize("groups", [0, 1, len(PROMPTS)])
def test_a_row_that_stops_leaves_the_others_as_they_were(groups):
    mine = adapters(groups) if groups else None
    unstopped = answers(adapters=mine)
    stop_ids = {unstopped[0][2], unstopped[3][5]}  # in the middle of two answers, and wherever they are elsewhere
    wanted = []
    for answer in unstopped:
        end = next((at for at, token in enumerate(answer) if token in stop_ids), len(answer))
        wanted.append(answer[:end])
    assert len({len(answer) for answer in wanted}) > 1
    assert answers(adapters=mine, stop_ids=stop_ids) == wanted


def test_when_all_stop_at_once_there_is_nothing():
    assert answers(stop_ids=range(40)) == [[], [], [], [], []]
    assert answers([]) == []


def test_every_token_is_told():
    told = []
    got = answers(stop_ids={answers()[0][2]}, on_tokens=told.append)
    assert sum(told) == sum(map(len, got))
    assert told == sorted(told, reverse=True)


def test_stream_gives_the_same_one_by_one():
    mine = adapters(1)
    options = {"max_new_tokens": 6, "stop_ids": (), "temperature": 0.7, "seed": 5, "adapters": mine}
    tokens = stream(decoder(), PROMPTS[0], **options)
    first = next(tokens)
    assert [first, *tokens] == answers(PROMPTS[:1], **options)[0]


def test_a_stream_can_be_left():
    tokens = stream(decoder(), PROMPTS[0], max_new_tokens=6, stop_ids=())
    next(tokens)
    assert not torch.is_inference_mode_enabled()
    tokens.close()
    assert torch.ones(1, requires_grad=True).sum().requires_grad


# --- sampling ----------------------------------------------------------------------------------------------


def test_sampling_repeats_with_its_seed():
    first = answers(temperature=1.0, seed=3)
    assert first == answers(temperature=1.0, seed=3)
    assert first != answers(temperature=1.0, seed=4)


def test_a_sampled_row_depends_on_its_own_number_only():
    together = answers(temperature=1.0, seed=3)
    assert together[:2] == answers(PROMPTS[:2], temperature=1.0, seed=3)
    for at, prompt in enumerate(PROMPTS):
        assert answers([prompt], temperature=1.0, seed=3 + at) == [together[at]]


def test_the_same_prompt_twice_gives_two_samples():
    first, second = answers([PROMPTS[0]] * 2, temperature=1.0)
    assert first != second


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature):
    n = 4000
    drawn = Counter(answer[0] for answer in answers([PROMPTS[0]] * n, temperature=temperature, max_new_tokens=1))
    logits = decoder().logits(decoder()(torch.tensor([PROMPTS[0]]))[0, -1])
    likely = (logits / temperature).softmax(0)
    for token, share in enumerate(likely.tolist()):
        assert abs(drawn[token] / n - share) < 4 * (share * (1 - share) / n) ** 0.5 + 1 / n


def test_a_low_temperature_is_greedy():
    assert answers(temperature=1e-4) == answers()


# --- sentences ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"prompts": [[1], []]}, DataError, "Prompt number 1 is empty"),
        ({"prompts": [[1] * 25]}, DataError, "has 25 tokens; with 8 new ones they are more than the 32"),
        ({"max_new_tokens": 0}, TaskError, "got 0"),
        ({"temperature": -1.0}, TaskError, r"got -1\.0"),
    ],
)
def test_what_cannot_be_generated_is_told(options, error, told):
    with pytest.raises(error, match=told):
        answers(**options)


def test_a_prompt_may_fill_the_base_to_the_last_position():
    assert len(answers([[1] * 24])[0]) == 8


def test_a_stream_is_checked_before_it_is_read():
    with pytest.raises(DataError, match="empty"):
        stream(decoder(), [], max_new_tokens=1, stop_ids=())


def test_adapters_of_another_number_of_rows_are_refused():
    with pytest.raises(BundleError, match="G 1 or 5"):
        answers(adapters=adapters(2))
