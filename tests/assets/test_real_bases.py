"""The real bases: fetched once into the cache of the environment's settings."""

import dataclasses
import unicodedata

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from sartor.assets.catalogue import catalogue, spec
from sartor.assets.fetch import sha256
from sartor.assets.resolve import BaseFiles, resolve
from sartor.nn.encoder import EncoderConfig, Pooling, encode_texts, load_encoder
from sartor.settings import current

pytestmark = pytest.mark.asset

PAIRS = [
    ("The parcel has not arrived yet.", "荷物がまだ届いていません。"),
    ("How do I reset my password?", "パスワードを再設定するにはどうすればよいですか。"),
    ("I would like my money back.", "返金してほしいのですが。"),
    ("The soup was cold and tasteless.", "スープは冷めていて味がしませんでした。"),
    ("It will snow in the mountains tomorrow.", "明日は山で雪が降るでしょう。"),
    ("The train was delayed by an accident.", "事故で電車が遅れました。"),
    ("My daughter started school in April.", "娘は四月に学校に入りました。"),
    ("The stock market fell sharply.", "株価が大きく下がりました。"),
    ("Please turn off the lights when you leave.", "出るときは電気を消してください。"),
    ("The doctor prescribed a new medicine.", "医者が新しい薬を処方しました。"),
]


@pytest.fixture(scope="module", params=list(catalogue()))
def files(request: pytest.FixtureRequest) -> BaseFiles:
    return resolve(request.param, current())


@pytest.fixture(scope="module")
def e5_tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(resolve("multilingual-e5-small", current()).tokenizer))


def vectors(name: str, texts: list[str]) -> np.ndarray:
    """Unit vectors by mean pooling over the last layer, as both bases were trained."""
    files = resolve(name, current())
    base = files.spec
    config = EncoderConfig(
        base.vocab_size, base.dim, base.layers, base.heads, base.intermediate, base.max_positions, pad_id=base.pad_id
    )
    encoder = load_encoder(config, files.weights)
    tokenizer = Tokenizer.from_file(str(files.tokenizer))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    pooled, _ = encode_texts(
        encoder, tokenizer, [base.prefix + text for text in texts], [Pooling(base.layers)], max_tokens=base.max_tokens
    )
    return pooled[:, 0] / np.linalg.norm(pooled[:, 0], axis=1, keepdims=True)


def test_the_files_are_the_pinned_ones(files):
    assert sha256(files.weights) == files.sha256 == files.spec.files["model.safetensors"]
    assert sha256(files.tokenizer) == files.spec.files["tokenizer.json"]


def test_a_second_look_needs_no_network(files):
    assert resolve(files.spec.name, dataclasses.replace(current(), offline=True)) == files


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("東京は日本の首都です。", ["▁", "東京", "は", "日本の", "首都", "です", "。"]),
        ("①②③", ["▁123"]),
        ("10～20人", ["▁10", "～", "20", "人"]),
        ("", []),
    ],
)
def test_e5_cuts_japanese_into_sane_pieces(e5_tokenizer, text, pieces):
    encoding = e5_tokenizer.encode(text)
    assert encoding.tokens == ["<s>", *pieces, "</s>"]
    assert (encoding.ids[0], encoding.ids[-1]) == (0, 2)


@pytest.mark.parametrize(
    "text",
    ["ｱﾊﾟｰﾄのｶﾞｽ代", "１２３４５円", "①②③", "㈱サルトル", "全角　空白", "ﬁne", "か\u3099"],
)
def test_e5_reads_compatibility_forms_as_their_plain_forms(e5_tokenizer, text):
    plain = unicodedata.normalize("NFKC", text)
    assert plain != text
    assert e5_tokenizer.encode(text).ids == e5_tokenizer.encode(plain).ids
    assert 3 not in e5_tokenizer.encode(text).ids


def test_e5_finds_the_translation_of_every_sentence():
    english, japanese = zip(*PAIRS, strict=True)
    both = vectors("multilingual-e5-small", [*english, *japanese])
    similarity = both[: len(PAIRS)] @ both[len(PAIRS) :].T
    assert similarity.argmax(axis=1).tolist() == list(range(len(PAIRS)))
    assert similarity.argmax(axis=0).tolist() == list(range(len(PAIRS)))


def test_minilm_finds_the_paraphrase():
    texts = ["How do I reset my password?", "I forgot my login secret.", "The soup was cold."]
    first, second, third = vectors("all-minilm-l6-v2", texts)
    assert first @ second > first @ third + 0.2


def test_a_base_has_the_parameters_of_a_bert_model(files):
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    base = spec(files.spec.name)
    with torch.device("meta"):
        model = BertModel(
            BertConfig(
                vocab_size=base.vocab_size,
                hidden_size=base.dim,
                num_hidden_layers=base.layers,
                num_attention_heads=base.heads,
                intermediate_size=base.intermediate,
                max_position_embeddings=base.max_positions,
            ),
            add_pooling_layer=False,
        )
    stored = load_file(files.weights)
    missing, unexpected = model.load_state_dict(stored, strict=False, assign=True)
    assert missing == []
    assert {name for name in unexpected if not name.startswith(("pooler.", "embeddings.position_ids"))} == set()
