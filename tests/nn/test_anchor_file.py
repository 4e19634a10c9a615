import pytest
import torch
from safetensors import SafetensorError

import tiny_base
from sartor.nn import anchor
from sartor.nn.anchor import Anchor

ADAPTER = tiny_base.adapter(tiny_base.encoder())


@pytest.mark.parametrize(
    "made",
    [Anchor(ADAPTER), Anchor(ADAPTER, tiny_base.adapter(tiny_base.encoder(), 1))],
    ids=["rows alone", "questions too"],
)
def test_what_was_written_is_read_again_as_float16_holds_it(made, tmp_path):
    anchor.write(made, tmp_path / anchor.ANCHOR)
    found = anchor.read((tmp_path / anchor.ANCHOR).read_bytes())
    for wanted, read in ((made.rows, found.rows), (made.questions, found.questions)):
        assert wanted.keys() == read.keys()
        assert all(torch.equal(wanted[name].half().float(), read[name]) for name in wanted)
    assert [path.name for path in tmp_path.iterdir()] == [anchor.ANCHOR]


def test_what_is_no_such_file_is_said():
    with pytest.raises(SafetensorError):
        anchor.read(b"nothing of the kind")
