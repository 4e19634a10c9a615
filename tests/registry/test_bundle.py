import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_bundle as made
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.errors import BundleError, NotFoundError, StorageError
from sartor.registry import bundle
from sartor.types import Label, Manifest


def sealed() -> tuple[Manifest, dict[str, bytes]]:
    manifest, files = bundle.seal(made.draft(), made.files())
    return manifest, dict(files)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle.write(tmp_path / "bundle", sealed()[1])
    return tmp_path / "bundle"


def forge(folder: Path, change: Callable[[dict], object]) -> None:
    """Change the manifest as somebody would who can compute its id."""
    path = folder / "manifest.json"
    fields = json.loads(path.read_bytes())
    change(fields)
    fields["id"] = bundle._id(fields)
    path.write_bytes(bundle._text(fields))


def pin(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and forge the manifest to fit it."""
    (folder / name).write_bytes(data)
    forge(folder, lambda fields: fields["files"].update({name: bundle.hashlib.sha256(data).hexdigest()}))


def safetensors(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


names = st.text(max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.tuples(names, names), max_size=4),
    scores=st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    extra=st.dictionaries(st.from_regex(r"\A[a-z][A-Za-z0-9._-]{0,8}\.txt\Z"), st.binary(max_size=64), max_size=3),
    seed=st.integers(0, 2**31),
)
def test_what_is_sealed_and_written_reads_back_the_same(tmp_path_factory, labels, scores, extra, seed):
    draft = replace(made.draft(seed, labels=tuple(Label(*pair) for pair in labels)), scores=scores)
    extra = {name.lower(): data for name, data in extra.items()}
    manifest, files = bundle.seal(draft, {**made.files(seed), **extra})
    folder = tmp_path_factory.mktemp("bundles") / "one"
    bundle.write(folder, files)
    assert bundle.read(folder) == (manifest, folder)
    assert bundle.load(folder) == (manifest, files)
    assert replace(manifest, id="", files={}) == draft


def test_the_id_depends_on_every_file_and_on_nothing_else():
    manifest, _ = sealed()
    assert bundle.seal(replace(made.draft(), id="other", files={"x": "y"}), made.files())[0] == manifest
    for name in made.files():
        other = {**made.files(), name: made.files(1)[name] + (b"" if name.endswith("safetensors") else b" ")}
        assert bundle.seal(made.draft(), other)[0].id != manifest.id


@pytest.mark.parametrize("name", ["model.safetensors", "report.json", "README.md", "manifest.json"])
def test_one_flipped_bit_anywhere_is_found_and_the_file_named(folder, name):
    data = (folder / name).read_bytes()
    for position in range(0, len(data), max(1, len(data) // 60)):
        changed = bytearray(data)
        changed[position] ^= 1
        (folder / name).write_bytes(changed)
        with pytest.raises(BundleError, match=name):
            bundle.read(folder)
        with pytest.raises(BundleError, match=name):
            bundle.load(folder)


def test_white_space_in_the_manifest_is_a_change_too(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", 1))
    with pytest.raises(BundleError, match=r"manifest.json was changed"):
        bundle.read(folder)


def test_a_newer_format_asks_for_an_update(folder):
    forge(folder, lambda fields: fields.update(format=2, seed={"unheard": "of"}))
    with pytest.raises(BundleError, match=r"written by a newer Sartor \(format 2; this one reads 1\): update"):
        bundle.read(folder)


def test_a_field_added_within_the_format_does_no_harm(folder):
    forge(folder, lambda fields: fields.update(added="later"))
    manifest, files = bundle.load(folder)
    assert json.loads(files["manifest.json"])["added"] == "later"
    assert manifest == bundle.read(folder).manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields.pop("base"), r"required field `base`"),
        (lambda fields: fields.update(seed="0"), r"Expected `int`, got `str` - at `\$.seed`"),
        (lambda fields: fields.update(format=True), r"format is True"),
        (lambda fields: fields.pop("format"), r"format is None"),
        (lambda fields: fields["shapes"].update({"head.weight": [3, 6]}), r"'head.weight' has the shape \(2, 6\)"),
        (lambda fields: fields["files"].pop("model.safetensors"), r"names no model.safetensors"),
        (lambda fields: fields["files"].pop("README.md"), r"holds 'README.md', which its manifest.json does not"),
        (lambda fields: fields["files"].update({"more.txt": "00"}), r"lacks more.txt"),
        (lambda fields: fields["files"].update({f"{n}.txt": "" for n in range(99)}), r"at most 64 files"),
        (lambda fields: fields["files"].update({"readme.md": "00"}), r"upper and lower case"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_in_a_sentence(folder, change, message):
    forge(folder, change)
    with pytest.raises(BundleError, match=message):
        bundle.read(folder)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff", b"{", b"[" * 100_000, b'{"format": 1, "x": "\\ud800"}', b"1" * 5000]
)
def test_a_manifest_that_is_none_is_refused_in_a_sentence(folder, text):
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"manifest.json is (not JSON|no manifest)"):
        bundle.read(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.txt",
        "/etc/evil.txt",
        "a/b.txt",
        "..",
        ".txt",
        "a\\b.txt",
        "a\n.txt",
        "é.txt",
        "",
        "-x.txt",
        "x.txt\n",
        "weights.bin",
        "model.pkl",
        "model.pt",
        "run.py",
        "Manifest.json",
        "a" * 200 + ".txt",
    ],
)
def test_no_file_name_escapes_or_hides(folder, name):
    with pytest.raises(BundleError, match="no bundle may hold"):
        bundle.seal(made.draft(), {**made.files(), name: b""})
    forge(folder, lambda fields: fields["files"].update({name: "00"}))
    with pytest.raises(BundleError, match="no bundle may hold"):
        bundle.read(folder)


@pytest.mark.parametrize("name", ["manifest.json", "model.safetensors", "README.md"])
def test_a_link_in_the_place_of_a_file_is_not_followed(folder, tmp_path, name):
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(BundleError, match=f"{name} is a link"):
        bundle.read(folder)


def test_a_pipe_in_the_place_of_a_file_does_not_hold_us_up(folder):
    (folder / "README.md").unlink()
    os.mkfifo(folder / "README.md")
    with pytest.raises(BundleError, match="not a plain file"):
        bundle.read(folder)


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "README.md").unlink()
    (folder / "README.md").mkdir()
    with pytest.raises(BundleError, match="not a plain file"):
        bundle.read(folder)


def test_a_missing_and_an_extra_file_are_named(folder):
    (folder / "evil.py").write_text("")
    with pytest.raises(BundleError, match=r"holds 'evil.py'"):
        bundle.read(folder)
    (folder / "evil.py").unlink()
    (folder / "report.json").unlink()
    with pytest.raises(BundleError, match=r"lacks report.json"):
        bundle.read(folder)


def test_what_git_and_file_managers_leave_is_overlooked(folder):
    (folder / ".git").mkdir()
    (folder / ".gitattributes").write_text("x")
    assert bundle.read(folder).manifest.id == sealed()[0].id


def test_a_file_larger_than_the_bound_is_not_read(folder):
    with (folder / "README.md").open("ab") as file:
        file.truncate(bundle.MAX_FILE_BYTES + 1)  # sparse: takes no room
    with pytest.raises(BundleError, match="at most 2000000000 are read"):
        bundle.read(folder)
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(bundle.MAX_MANIFEST_BYTES + 1)
    with pytest.raises(BundleError, match="at most 4000000 are read"):
        bundle.read(folder)


def test_weights_cut_off_anywhere_are_refused_even_when_the_manifest_fits(folder):
    whole = made.weights()
    for length in range(0, len(whole), 7):
        pin(folder, "model.safetensors", whole[:length])
        with pytest.raises(BundleError, match=r"model.safetensors is no sound safetensors file"):
            bundle.read(folder)
        with pytest.raises(BundleError, match=r"model.safetensors is no sound safetensors file"):
            bundle.seal(made.draft(), {**made.files(), "model.safetensors": whole[:length]})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (safetensors(b"x" * 1_000_001), "its header claims 1000001 bytes"),
        (struct.pack("<Q", 2**64 - 1), "fewer than its header asks for"),
        (safetensors(b"{" * 100_000), "cannot be read"),
        (safetensors(b"\xff\xff"), "cannot be read"),
        (safetensors([]), "cannot be read"),
        (safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"0000"), "cannot be read"),
        (safetensors({"a": {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]}}, b"0000"), "cannot be read"),
        (safetensors({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 4]}}, b"0000"), "unknown dtype 'O'"),
        (safetensors({"a": {"dtype": "U8", "shape": [1] * 9, "data_offsets": [0, 1]}}, b"0"), "9 dimensions"),
        (safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0000"), "does not lie"),
        (safetensors({"a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, b"000"), "does not lie"),
        (safetensors({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"000"), "3 follow the header"),
        (
            safetensors({k: {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]} for k in "ab"}, b"00"),
            "tensor 'b' does not lie",
        ),
    ],
)
def test_a_header_that_lies_is_refused(data, message):
    with pytest.raises(BundleError, match=message):
        bundle.seal(made.draft(), {**made.files(), "model.safetensors": data})


def test_text_and_numbers_that_json_cannot_hold_are_refused():
    with pytest.raises(BundleError, match="must be finite"):
        bundle.seal(replace(made.draft(), scores={"accuracy": float("nan")}), made.files())
    with pytest.raises(BundleError, match="must be Unicode"):
        bundle.seal(made.draft(labels=(Label("\ud800"),)), made.files())
    with pytest.raises(BundleError, match="takes at most 4000000"):
        bundle.seal(made.draft(labels=(Label("x" * 4_000_000),)), made.files())


def test_without_verify_all_but_the_hashes_is_checked(folder):
    (folder / "README.md").write_text("changed")
    assert bundle.read(folder, verify=False).path == folder
    (folder / "model.safetensors").write_bytes(made.weights()[:-1])
    with pytest.raises(BundleError, match="no sound safetensors"):
        bundle.read(folder, verify=False)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path):
    with pytest.raises(NotFoundError, match="There is no folder"):
        bundle.read(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"holds no manifest.json"):
        bundle.read(tmp_path)


def test_a_folder_that_exists_is_not_written_over(folder):
    (folder / "README.md").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        bundle.write(folder, sealed()[1])
    assert (folder / "README.md").read_text() == "mine"
    assert os.listdir(folder.parent) == ["bundle"]
