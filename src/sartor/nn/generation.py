"""A decoder's answers: token by token, many prompts at once, each with its own adapter if need be.

Prompts are padded on the left, so that all rows write their next token in the same place; keys and values of what was
read are kept. A row that is done leaves the batch. What a row gets does not depend on the rows beside it, up to the
rounding of sums, which may turn a tie.

Dimension key:   B: rows still at work   T: tokens of the longest prompt   V: vocabulary
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from torch import Tensor

from sartor.errors import DataError, TaskError
from sartor.nn.decoder import Adapters, Cache, Decoder, rows_of


def generate(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    adapters: Adapters | None = None,
    max_new_tokens: int,
    stop_ids: Collection[int],
    temperature: float = 0.0,
    seed: int | Sequence[int] = 0,
    on_tokens: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """Return the new tokens of each prompt, without the one that stopped it.

    Args:
        decoder: what writes.
        prompts: token ids of each row.
        adapters: one for all rows or one a row, as :class:`~sartor.nn.decoder.Decoder` takes them.
        max_new_tokens: where a row ends that does not stop.
        stop_ids: tokens that end a row.
        temperature: 0 takes the likeliest token; otherwise logits are divided by it and a token is drawn.
        seed: row number n draws with ``seed + n``, or with the n-th of several, so that rows beside it change nothing.
        on_tokens: called after each step with the number of rows that got a token.

    Raises:
        DataError: if a prompt is empty, or too long for this decoder.
        TaskError: if the temperature is negative or no token is wanted.
        BundleError: if an adapter does not fit.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    _check(decoder, prompts, max_new_tokens, temperature)
    seeds = [seed + row for row in range(len(prompts))] if isinstance(seed, int) else seed
    steps = _each_step(decoder, prompts, adapters or {}, max_new_tokens, frozenset(stop_ids), temperature, seeds)
    for rows, tokens in steps:
        for row, token in zip(rows, tokens, strict=True):
            answers[row].append(token)
        if on_tokens is not None:
            on_tokens(len(rows))
    return answers


def stream(
    decoder: Decoder,
    prompt: Sequence[int],
    *,
    adapters: Adapters | None = None,
    max_new_tokens: int,
    stop_ids: Collection[int],
    temperature: float = 0.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield the new tokens of one prompt as they come; arguments and errors as of :func:`generate`."""
    _check(decoder, [prompt], max_new_tokens, temperature)  # now, and not when the first token is asked for
    steps = _each_step(decoder, [prompt], adapters or {}, max_new_tokens, frozenset(stop_ids), temperature, [seed])
    return (token for _, tokens in steps for token in tokens)


def _check(decoder: Decoder, prompts: Sequence[Sequence[int]], max_new_tokens: int, temperature: float) -> None:
    if max_new_tokens < 1:
        raise TaskError(f"At least 1 token has to be asked for; got {max_new_tokens}.")
    if not 0 <= temperature < math.inf:
        raise TaskError(f"The temperature is a number from 0 on; got {temperature}.")
    room = decoder.config.max_positions
    for at, prompt in enumerate(prompts):
        if not prompt:
            raise DataError(f"Prompt number {at} is empty. Give it at least one token.")
        if len(prompt) + max_new_tokens > room:
            raise DataError(
                f"Prompt number {at} has {len(prompt)} tokens; with {max_new_tokens} new ones they are more than the "
                f"{room} that this base was made for. Shorten it, or ask for fewer."
            )


@torch.inference_mode()
def _each_step(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    adapters: Adapters,
    max_new_tokens: int,
    stop_ids: Collection[int],
    temperature: float,
    seeds: Sequence[int],
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the numbers of the rows that go on and their new tokens, step by step."""
    if not prompts:
        return
    table = decoder.model.embed_tokens.weight
    rows = list(range(len(prompts)))
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    ids_BT, keep_BT = _padded_left(prompts)
    ids_BT, keep_BT = ids_BT.to(table.device), None if keep_BT is None else keep_BT.to(table.device)
    room = ids_BT.shape[1] + max_new_tokens - 1  # the last token is not read
    cache = Cache.empty(decoder.config, len(rows), room, device=table.device, dtype=table.dtype)
    for step in range(max_new_tokens):
        states_BTH = decoder(ids_BT, keep_BT if step == 0 else None, adapters=adapters, cache=cache)
        tokens_B = _chosen(decoder.logits(states_BTH[:, -1]), temperature, [generators[row] for row in rows])
        tokens = tokens_B.tolist()
        going = [at for at, token in enumerate(tokens) if token not in stop_ids]
        if not going:
            return
        if len(going) < len(rows):
            kept = torch.tensor(going, device=table.device)
            rows, tokens = [rows[at] for at in going], [tokens[at] for at in going]
            tokens_B, cache, adapters = tokens_B[kept], cache.rows(kept), rows_of(adapters, kept)
        yield rows, tokens
        ids_BT = tokens_B[:, None]


def _padded_left(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor | None]:
    """Return token ids (B, T), and (B, T) True where one is real; None when all are."""
    longest = max(map(len, prompts))
    ids_BT = torch.zeros((len(prompts), longest), dtype=torch.long)
    keep_BT = torch.zeros((len(prompts), longest), dtype=torch.bool)
    for at, prompt in enumerate(prompts):
        ids_BT[at, longest - len(prompt) :] = torch.tensor(prompt)
        keep_BT[at, longest - len(prompt) :] = True
    return ids_BT, None if bool(keep_BT.all()) else keep_BT


def _chosen(logits_BV: Tensor, temperature: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Return the next token (B) of each row: the likeliest, or one drawn with the row's own generator."""
    if temperature == 0:
        return logits_BV.argmax(dim=-1)
    # one number of a row's own, looked up among the summed probabilities: the same on every device
    drawn = [torch.rand(1, generator=generator, dtype=torch.float64) for generator in generators]
    sums_BV = (logits_BV.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    wanted_B1 = torch.stack(drawn).to(sums_BV.device) * sums_BV[:, -1:]
    return torch.searchsorted(sums_BV, wanted_B1, right=True)[:, 0].clamp(max=sums_BV.shape[-1] - 1)
