"""Our encoder against the ecosystem's, on the real bases."""

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from sartor.assets.catalogue import BaseSpec, catalogue
from sartor.assets.resolve import resolve
from sartor.nn.encoder import EncoderConfig, load_encoder
from sartor.settings import current

pytestmark = pytest.mark.asset

TEXTS = ["hello", "A longer sentence, so that the shorter ones are padded.", "荷物がまだ届いていません。", ""]


def theirs(base: BaseSpec, weights: dict[str, torch.Tensor]):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=base.vocab_size,
        hidden_size=base.dim,
        num_hidden_layers=base.layers,
        num_attention_heads=base.heads,
        intermediate_size=base.intermediate,
        max_position_embeddings=base.max_positions,
        layer_norm_eps=base.layer_norm_eps,
        pad_token_id=base.pad_id,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({name: weights[name].float() for name in model.state_dict()})
    return model.eval()


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_layer_equals_that_of_transformers(name):
    files = resolve(name, current())
    base = files.spec
    config = EncoderConfig(
        vocab_size=base.vocab_size,
        hidden=base.dim,
        layers=base.layers,
        heads=base.heads,
        intermediate=base.intermediate,
        max_positions=base.max_positions,
        layer_norm_eps=base.layer_norm_eps,
        pad_id=base.pad_id,
    )
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_truncation()
    tokenizer.enable_padding(pad_id=base.pad_id)
    encodings = tokenizer.encode_batch([base.prefix + text for text in TEXTS])
    ids_BT = torch.tensor([encoding.ids for encoding in encodings])
    keep_BT = torch.tensor([encoding.attention_mask for encoding in encodings]).bool()
    reference = theirs(base, load_file(files.weights))
    with torch.inference_mode():
        ours = load_encoder(config, files.weights)(ids_BT, keep_BT)
        wanted = reference(ids_BT, attention_mask=keep_BT.long(), output_hidden_states=True).hidden_states
    assert len(ours) == len(wanted) == base.layers + 1
    for layer, (got, expected) in enumerate(zip(ours, wanted, strict=True)):
        difference = (got - expected)[keep_BT].abs().max()
        assert difference < 1e-4, f"layer {layer} differs by {difference}"
