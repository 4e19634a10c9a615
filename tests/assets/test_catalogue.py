import re

import pytest

from sartor.assets.catalogue import (
    TOKENIZER,
    WEIGHTS,
    WheelSource,
    catalogue,
    every,
    for_language,
    language_model,
    picture_base,
    picture_bases,
    spec,
)
from sartor.errors import NotFoundError

BASES = list(catalogue().values())


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_every_byte_of_a_base_is_pinned(base):
    assert set(base.files) == {WEIGHTS, TOKENIZER}
    hashes = list(base.files.values())
    for source in base.sources:
        if isinstance(source, WheelSource):
            hashes += [source.sha256, *source.member_sha256.values()]
            assert set(source.members) == set(source.member_sha256 if source.conversion else base.files)
        else:
            assert re.fullmatch("[0-9a-f]{40}", source.revision)
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_base_names_its_licence_first_and_those_it_comes_from(base):
    assert base.licence_lineage
    assert any(entry.endswith(f": {base.licence}") for entry in base.licence_lineage)


def test_a_wheel_is_named_as_its_package_and_version():
    for base in BASES:
        for source in base.sources:
            if isinstance(source, WheelSource):
                assert source.filename.startswith(f"{source.package.replace('-', '_')}-{source.version}-")


@pytest.mark.parametrize("code", ["en", "EN", "en-GB", "en_US"])
def test_english_gets_the_english_base(code):
    assert for_language(code) == "all-minilm-l6-v2+anchor2"


@pytest.mark.parametrize("code", ["ja", "ja-JP", "de", "zh", "", "xx", "eng"])
def test_every_other_language_gets_the_multilingual_base(code):
    assert for_language(code) == "multilingual-e5-small+anchor1"


def test_a_base_is_found_by_name():
    assert spec("all-minilm-l6-v2") is catalogue()["all-minilm-l6-v2"]


def test_an_unknown_base_is_told_with_the_nearest_and_all_known():
    with pytest.raises(NotFoundError) as error:
        spec("all-minilm-l6")
    assert "Did you mean 'all-minilm-l6-v2'?" in str(error.value)
    assert all(name in str(error.value) for name in catalogue())


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        catalogue()["mine"] = spec("all-minilm-l6-v2")  # type: ignore[index]


# --- pictures ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", picture_bases().values(), ids=lambda base: base.name)
def test_every_byte_of_a_base_for_pictures_is_pinned(base):
    assert set(base.files) == {WEIGHTS}
    for source in base.sources:
        assert set(source.members) == set(source.member_sha256)
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in (source.sha256, *source.member_sha256.values()))
    assert any(entry.endswith(f": {base.licence}") for entry in base.licence_lineage)


def test_a_base_is_asked_for_what_it_reads():
    assert picture_base("efficientnet-lite0") is picture_bases()["efficientnet-lite0"]
    with pytest.raises(NotFoundError, match=r"reads texts, and this task is one of pictures\. Take one of eff"):
        picture_base("all-minilm-l6-v2")
    with pytest.raises(NotFoundError, match="reads pictures, and this task is one of texts"):
        spec("efficientnet-lite0")
    with pytest.raises(NotFoundError, match="reads pictures, and this task is one of writing"):
        language_model("efficientnet-lite0")
    with pytest.raises(NotFoundError, match="Did you mean 'efficientnet-lite0'"):
        picture_base("efficientnet-lite")


def test_all_bases_are_known_by_one_name_each():
    names = [base.name for base in every()]
    assert len(set(names)) == len(names)
    assert {"all-minilm-l6-v2", "smollm2-135m-instruct", "efficientnet-lite0"} <= set(names)
