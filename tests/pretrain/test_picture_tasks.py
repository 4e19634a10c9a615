import json

import numpy as np
import pytest
from PIL import Image, ImageFont

from sartor.errors import DataError
from sartor.pretrain import picture_tasks, surfaces
from sartor.pretrain.picture_tasks import SIDES, SMALL, draw_pool, groups
from sartor.pretrain.surfaces import DEFECTS, KINDS, Defect, Surface

DRAWN = [group for group in SIDES if group in ("textures", "tiles and cells", "several defects", *DEFECTS)]


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "emoji").mkdir()
    random = np.random.default_rng(0)
    for at in range(6):
        Image.fromarray(random.integers(0, 256, (70, 90, 3)).astype(np.uint8)).save(tmp_path / "photos" / f"{at}.png")
    known = []
    for at in range(24):
        name = f"{at}.png"
        Image.fromarray(random.integers(0, 256, (16, 16, 4)).astype(np.uint8)).save(tmp_path / "emoji" / name)
        known.append({"image": name, "category": ("Food", "Objects", "Symbols")[at % 3], "subcategory": f"k{at % 3}"})
    (tmp_path / "emoji" / "emoji.json").write_text(json.dumps(known))
    return tmp_path


def test_every_group_is_for_one_thing_and_nothing_to_learn_from_shows_a_digit():
    assert set(groups("train")) | set(groups("validation")) | set(groups("report")) == set(SIDES)
    assert "printed digits" in groups("report")
    assert "stains" in groups("report")
    for group in groups("train", "validation"):
        assert not set("0123456789") & set(picture_tasks._ALPHABETS.get(group, ""))


def test_no_character_is_learned_from_and_judged():
    alphabets = picture_tasks._ALPHABETS
    learned = set("".join(alphabets[group] for group in groups("train") if group in alphabets))
    judged = set("".join(alphabets[group] for group in groups("validation", "report") if group in alphabets))
    assert not learned & judged


@pytest.mark.parametrize("group", DRAWN)
def test_surfaces_need_no_source_and_are_the_same_every_time(group, tmp_path):
    one, again, other = (draw_pool(group, tmp_path, SMALL, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.pictures, again.pictures)
    assert (one.pictures != other.pictures).any()
    assert one.pictures.shape == (len(one.classes), SMALL.side, SMALL.side, 3)
    assert one.pictures.dtype == np.uint8
    assert len(set(one.sets)) == SMALL.products
    for label in set(one.classes):
        assert len(set(one.sets[one.classes == label])) == 1  # no two sets share a class
        assert (one.classes == label).sum() == SMALL.of_product


def test_sources_make_groups(sources):
    known = {
        group: draw_pool(group, sources, SMALL, seed=0) for group in ("photos", "photos at night", "emoji objects")
    }
    assert len(set(known["photos"].classes)) == 5  # all but the third of six
    assert len(set(known["photos at night"].classes)) == 4  # its quarters
    assert len(set(known["emoji objects"].classes)) == 1
    assert known["photos at night"].pictures.mean() < known["photos"].pictures.mean()


def test_a_group_without_a_source_is_left_out(tmp_path):
    for group in ("letters", "kana", "icons", "emoji", "photos", "printed digits"):
        assert draw_pool(group, tmp_path, SMALL, seed=0) is None


def test_letters_come_from_fonts(tmp_path):
    (tmp_path / "fonts").mkdir()
    found = ImageFont.load_default(20)
    if not isinstance(found, ImageFont.FreeTypeFont):
        pytest.skip("Pillow was built without FreeType")
    found.path.seek(0)
    (tmp_path / "fonts" / "default.ttf").write_bytes(found.path.read())
    pool = draw_pool("printed digits", tmp_path, SMALL, seed=0)
    assert len(set(pool.classes)) == SMALL.classes
    assert all(picture.std() > 2 for picture in pool.pictures)


def test_what_is_no_font_is_named(tmp_path):
    (tmp_path / "fonts").mkdir()
    (tmp_path / "fonts" / "broken.ttf").write_text("no font")
    with pytest.raises(DataError, match=r"broken\.ttf cannot be read as a font"):
        draw_pool("letters", tmp_path, SMALL, seed=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", DEFECTS)
def test_a_defect_shows(kind, family):
    random = np.random.default_rng(3)
    surface = Surface.draw(random, kind)
    picture = surface.picture(random, 64)
    defect = Defect(family, 0.3, 1.0, True)
    painted = defect.paint(random, picture)
    assert painted.shape == picture.shape
    assert 0 <= painted.min() <= painted.max() <= 1
    changed = np.abs(painted - np.clip(picture, 0, 1)).max(axis=2) > 0.02
    assert 0 < changed.mean() < 0.9


def test_near_surfaces_differ():
    random = np.random.default_rng(0)
    for _ in range(20):
        surface = Surface.draw(random)
        other = surface.near(random)
        assert other.kind == surface.kind
        changed = [getattr(other, field) != getattr(surface, field) for field in ("pitch", "turn", "uneven")]
        assert any(changed) or (other.colours != surface.colours).any()


def test_clouds_are_standardised():
    field = surfaces.cloud(np.random.default_rng(0), 50, 10)
    assert field.shape == (50, 50)
    assert field.mean() == pytest.approx(0, abs=1e-4)
    assert field.std() == pytest.approx(1, abs=1e-3)
