import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import tiny_base
from sartor.nn.encoder import Pooling, encode_in_context, encode_texts, in_context, load_encoder, own_tokens

ENCODER, TOKENIZER = tiny_base.encoder(), tiny_base.tokenizer()
POOLINGS = (Pooling(0), Pooling(1), Pooling(2), Pooling(2, "max"))
CLOSING = 3
TEXTS = ["refund", "", "I was charged twice for this invoice", "crash bug error", "hello thanks 請求", "a" * 30]


def encode(texts, max_tokens=64, **options):
    return encode_texts(ENCODER, TOKENIZER, texts, POOLINGS, max_tokens=max_tokens, **options)


def states_of(ids, keep=None):
    with torch.inference_mode():
        return ENCODER(torch.tensor(ids), None if keep is None else torch.tensor(keep))


def test_padding_changes_no_state_of_a_real_token():
    ids = TOKENIZER.encode("refund my money").ids
    padded = [ids + [0] * 9, TOKENIZER.encode("great").ids + [5] * (len(ids) + 6)]
    keep = [[True] * len(ids) + [False] * 9, [True] * 3 + [False] * (len(ids) + 6)]
    for alone, beside in zip(states_of([ids]), states_of(padded, keep), strict=True):
        torch.testing.assert_close(beside[0, : len(ids)], alone[0], atol=1e-5, rtol=1e-5)


def test_without_a_mask_padding_would_change_them():
    ids = TOKENIZER.encode("refund my money").ids
    alone, beside = states_of([ids])[-1], states_of([ids + [0] * 9])[-1]
    assert (beside[0, : len(ids)] - alone[0]).abs().max() > 1e-2


def test_pooling_is_mean_and_maximum_over_the_tokens_of_a_layer():
    pooled, _ = encode(TEXTS)
    for row, text in enumerate(TEXTS):
        states = states_of([TOKENIZER.encode(text).ids])
        wanted = [states[0][0].mean(0), states[1][0].mean(0), states[2][0].mean(0), states[2][0].amax(0)]
        np.testing.assert_allclose(pooled[row], torch.stack(wanted).numpy(), atol=1e-5)


@given(st.permutations(range(len(TEXTS))), st.sampled_from([1, 16, 64, 4096]))
@hypothesis_settings(max_examples=20, deadline=None)
def test_neither_the_order_of_texts_nor_the_size_of_batches_matters(order, tokens_per_batch):
    wanted, _ = encode(TEXTS)
    got, _ = encode([TEXTS[at] for at in order], tokens_per_batch=tokens_per_batch)
    np.testing.assert_allclose(got, wanted[order], atol=1e-5)


def test_a_text_too_long_keeps_its_beginning_and_the_closing_token():
    text = "I was charged twice for this invoice"
    ids = TOKENIZER.encode(text).ids
    pooled, cut = encode([text], max_tokens=6)
    wanted = states_of([[*ids[:5], CLOSING]])[-1][0].mean(0)
    assert cut.tolist() == [True]
    np.testing.assert_allclose(pooled[0, 2], wanted.numpy(), atol=1e-5)


def test_only_texts_of_more_tokens_than_allowed_count_as_cut():
    tokens = len(TOKENIZER.encode("crash bug error").ids)
    assert encode(["crash bug error"], max_tokens=tokens)[1].tolist() == [False]
    assert encode(["crash bug error", "bug"], max_tokens=tokens - 1)[1].tolist() == [True, False]


def test_a_huge_text_is_encoded_as_its_beginning_and_counts_as_cut():
    huge = "bug " * 1_000_000
    pooled, cut = encode([huge, "bug " * 100], max_tokens=16)
    assert cut.tolist() == [True, True]
    np.testing.assert_allclose(pooled[0], pooled[1], atol=1e-6)


def test_what_was_left_unread_counts_as_cut_even_if_what_was_read_is_short():
    assert encode([" " * 10_000 + "refund"], max_tokens=16)[1].tolist() == [True]
    assert encode(["x" * 10_000], max_tokens=16)[1].tolist() == [True]


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b", "☃"])
def test_a_text_without_words_is_encoded_finitely(text):
    pooled, cut = encode([text, "a longer text beside it"])
    assert np.isfinite(pooled).all()
    assert not cut.any()


def test_no_texts_give_no_rows():
    pooled, cut = encode([])
    assert pooled.shape == (0, len(POOLINGS), 32)
    assert cut.shape == (0,)


def test_every_row_is_told_once():
    told = []
    encode(TEXTS, tokens_per_batch=16, on_rows=told.append)
    assert sum(told) == len(TEXTS)
    assert len(told) > 1


@pytest.fixture
def checkpoint(tmp_path):
    """A file as the hub has them: half precision, a prefix, and a pooler that we have no use for."""
    stored = {f"bert.{name}": tensor.half() for name, tensor in ENCODER.state_dict().items()}
    stored |= {"bert.pooler.dense.weight": torch.zeros(32, 32), "bert.embeddings.position_ids": torch.arange(64)}
    save_file(stored, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_a_loaded_encoder_has_every_weight_in_float32_and_frozen(checkpoint):
    loaded = load_encoder(tiny_base.config(), checkpoint)
    assert not loaded.training
    assert {name for name, _ in loaded.named_parameters()} == set(ENCODER.state_dict())
    for name, parameter in loaded.named_parameters():
        assert not parameter.is_meta, name
        assert parameter.dtype == torch.float32
        assert not parameter.requires_grad
        assert torch.equal(parameter, ENCODER.state_dict()[name].half().float())


def test_a_loaded_encoder_answers_as_the_one_that_was_saved(tmp_path):
    save_file(ENCODER.state_dict(), tmp_path / "model.safetensors")
    loaded = load_encoder(tiny_base.config(), tmp_path / "model.safetensors")
    got, _ = encode_texts(loaded, TOKENIZER, TEXTS, POOLINGS, max_tokens=64)
    assert np.array_equal(got, encode(TEXTS)[0])


def test_poolings_are_named_by_kind_and_layer():
    assert [pooling.name for pooling in POOLINGS] == ["mean-0", "mean-1", "mean-2", "max-2"]


# --- words behind a text -----------------------------------------------------------------------------------

BEFORE = "is this text about my invoice"


def test_words_behind_a_text_are_pooled_over_their_own_tokens():
    said = [in_context(TOKENIZER, BEFORE, words, 32) for words in ("refund money", "bug")]
    found = encode_in_context(ENCODER, said, Pooling(2))
    for row, words in enumerate(("refund money", "bug")):
        whole = TOKENIZER.encode(f"{BEFORE} {words}").ids
        assert list(said[row].ids) == whole
        wanted = states_of([whole])[2][0, -1 - len(words.split()) : -1].mean(0)
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)


def test_what_stands_before_changes_what_words_mean():
    one, other = (
        encode_in_context(ENCODER, [in_context(TOKENIZER, before, "yes", 32)], Pooling(2))
        for before in (BEFORE, "hello thanks")
    )
    assert np.abs(one - other).max() > 1e-2


@given(before=st.integers(0, 60), words=st.integers(0, 60), most=st.integers(4, 48))
@hypothesis_settings(max_examples=50, deadline=None)
def test_whatever_is_too_long_the_words_keep_half_and_the_special_tokens_stay(before, words, most):
    said = in_context(TOKENIZER, "bug " * before, "refund " * words, most)
    assert len(said.ids) <= most
    assert (said.ids[0], said.ids[-1]) == (2, CLOSING)
    start, stop = said.own
    assert stop - start == min(words, most // 2)
    assert stop == len(said.ids) - 1
    assert len(said.ids) == min(before, most - 2 - (stop - start)) + stop - start + 2


def test_words_without_a_token_are_pooled_over_all():
    said = in_context(TOKENIZER, BEFORE, "", 32)
    assert own_tokens([said]).all()


@pytest.mark.parametrize("size", [1, 2, 64])
def test_the_size_of_batches_of_words_does_not_matter(size):
    said = [in_context(TOKENIZER, BEFORE, words, 32) for words in ("refund money card", "bug", "a")]
    whole = encode_in_context(ENCODER, said, Pooling(2))
    np.testing.assert_allclose(encode_in_context(ENCODER, said, Pooling(2), size), whole, atol=1e-5)
