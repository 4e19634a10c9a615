import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sartor.data import looks, pictures
from sartor.data.looks import group_by_look


def smooth(seed, size=(240, 180)):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def shaken(image, seed):
    """The same once more: a little brighter, moved by a pixel, other noise."""
    pixels = np.roll(np.asarray(image).astype(float), 1, axis=1) * 1.01 + np.random.default_rng(seed).normal(0, 3, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def saved(images, folder, suffix=".png"):
    paths = []
    for at, image in enumerate(images):
        paths.append(str(folder / f"{len(list(folder.iterdir())):03d}-{at}{suffix}"))
        image.save(paths[-1])
    return paths


def test_a_burst_and_its_copies_are_one_group_and_others_are_not(tmp_path):
    first = [smooth(at) for at in range(20)]
    paths = saved(first, tmp_path) + saved(first, tmp_path, ".jpg") + saved([shaken(i, 1) for i in first], tmp_path)
    groups = group_by_look(paths)
    assert groups.dtype == np.int64
    assert len(set(groups[:20].tolist())) == 20
    assert np.mean(groups[:20] == groups[20:40]) >= 0.95
    assert np.mean(groups[:20] == groups[40:]) >= 0.95


def test_groups_do_not_depend_on_the_order(tmp_path):
    first = [smooth(at) for at in range(12)]
    paths = saved(first, tmp_path) + saved([shaken(image, 2) for image in first], tmp_path)
    order = np.random.default_rng(0).permutation(len(paths))
    assert group_by_look([paths[at] for at in order]).tolist() == group_by_look(paths)[order].tolist()


def test_pictures_that_are_alike_by_nature_stay_apart(tmp_path):
    bench = np.asarray(smooth(0)).copy()
    parts = []
    for at in range(12):
        part = bench.copy()
        part[50 + 5 * at : 54 + 5 * at, 60:120] ^= 16  # a small scratch, each in its own place
        parts.append(Image.fromarray(part))
    paths = saved([*parts, parts[0]], tmp_path)
    groups = group_by_look(paths).tolist()
    assert len(set(groups)) > 6
    assert groups[0] == groups[-1]


def test_small_pictures_of_digits_are_hardly_ever_taken_for_each_other(tmp_path):
    digits = load_digits().images[:300]
    paths = saved([Image.fromarray((one * 15).astype(np.uint8)) for one in digits], tmp_path)
    assert len(set(group_by_look(paths).tolist())) >= 290


def test_a_flat_picture_of_another_grey_is_another(tmp_path):
    paths = saved([Image.new("RGB", (20, 20), (grey,) * 3) for grey in (10, 90, 170, 250)], tmp_path)
    assert len(set(group_by_look(paths).tolist())) == 4


@pytest.mark.parametrize("n", [0, 1])
def test_few_pictures(tmp_path, n):
    assert group_by_look(saved([smooth(0)][:n], tmp_path)).shape == (n,)


def test_time_grows_with_the_number_not_with_its_square(monkeypatch):
    draw = np.random.default_rng(0)
    thumbs = draw.integers(0, 256, (5_000, 256), dtype=np.uint8)
    faked = {str(at): pictures.Look(at % 3, thumb.tobytes()) for at, thumb in enumerate(thumbs)}  # all of one hash
    monkeypatch.setattr(looks, "look", faked.__getitem__)
    compared = []
    real = looks._same
    monkeypatch.setattr(looks, "_same", lambda one, others: compared.append(len(others)) or real(one, others))
    assert len(set(group_by_look(list(faked)).tolist())) == 5_000
    assert sum(compared) <= len(faked) * 4 * looks._COMPARED
