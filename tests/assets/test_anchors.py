import hashlib
import json

import pytest

from sartor.assets.catalogue import BaseSpec, catalogue, spec
from sartor.errors import AssetError
from sartor.nn import anchor, branch
from sartor.nn.text_base import ANCHORED, POOLED, load_base
from sartor.pretrain.public import PUBLIC

SHIPPED = [base for base in catalogue().values() if base.anchor]


def card(base: BaseSpec):
    assert base.anchor
    return json.loads(base.anchor.path.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("base", SHIPPED, ids=lambda base: base.name)
def test_an_anchor_is_the_pinned_one_and_fits_its_base(base):
    assert hashlib.sha256(base.anchor.path.read_bytes()).hexdigest() == base.anchor.sha256 == card(base)["sha256"]
    assert card(base)["base"] == base.stem
    assert base.stem in catalogue()
    found = anchor.read(base.anchor.path.read_bytes())
    for adapter in filter(None, (found.rows, found.questions)):
        assert branch.first_layer(adapter) == base.layers // 2
        assert {tensor.shape[0 if "lora_A" in name else 1] for name, tensor in adapter.items()} == {card(base)["rank"]}


def test_anchors_stay_small():
    assert SHIPPED
    assert sum(base.anchor.path.stat().st_size for base in SHIPPED if base.anchor) < 12 * 2**20


def test_no_anchor_ever_saw_a_public_benchmark():
    assert all(not PUBLIC & set(card(base)["groups"]) for base in SHIPPED)


def test_what_is_taken_today_reads_questions_and_older_models_keep_their_anchor():
    today, before = (spec(f"all-minilm-l6-v2+anchor{number}").anchor for number in (2, 1))
    assert anchor.read(today.path.read_bytes()).questions
    assert not anchor.read(before.path.read_bytes()).questions


def test_a_base_with_an_anchor_has_its_own_hash_and_the_files_of_its_stem():
    plain, anchored = spec("all-minilm-l6-v2"), spec("all-minilm-l6-v2+anchor2")
    assert anchored.files == plain.files
    assert anchored.sha256 != plain.sha256


def test_an_anchored_base_gives_two_more_blocks(tiny):
    plain, anchored = load_base("all-minilm-l6-v2"), load_base("all-minilm-l6-v2+anchor2")
    assert len(plain.poolings) == len(POOLED)
    assert len(anchored.poolings) == len(POOLED) + len(ANCHORED)


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_a_damaged_anchor_is_said(tiny, content):
    path = spec("all-minilm-l6-v2+anchor2").anchor.path
    if content is None:
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    else:
        path.write_bytes(content)
    with pytest.raises(AssetError, match="Install Sartor again"):
        load_base("all-minilm-l6-v2+anchor2")
