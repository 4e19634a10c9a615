"""Pictures come with the request; files of the server's machine are opened for nobody."""

import asyncio
import base64
import io

import numpy as np
import pytest
from PIL import Image
from serve_helpers import ask, serving

import tiny_pictures
from sartor import load, pipeline, settings
from sartor.assets import catalogue
from sartor.registry.store import Store
from sartor.types import Task


def stripes(pitch, seed):
    random = np.random.default_rng(seed)
    wave = np.sin(2 * np.pi * (np.arange(40) / pitch + random.random()))[:, None, None]
    return np.clip(128 + 90 * wave * np.ones((1, 40, 3)) + random.normal(size=(40, 40, 3)) * 6, 0, 255).astype(np.uint8)


def sent(picture):
    kept = io.BytesIO()
    Image.fromarray(picture).save(kept, "PNG")
    return f"data:image/png;base64,{base64.b64encode(kept.getvalue()).decode()}"


@pytest.fixture
def weaves(shop, stocked, tmp_path, monkeypatch):
    """A model of two weaves, and one that knows one of them."""
    monkeypatch.setattr(catalogue, "_PICTURE_BASES", tiny_pictures.specs(stocked / "cache"))
    folder = tmp_path / "weaves"
    for label, pitch in (("fine", 3), ("coarse", 9)):
        (folder / label).mkdir(parents=True)
        for seed in range(8):
            Image.fromarray(stripes(pitch, seed)).save(folder / label / f"{seed}.png")
    for name, path in (("weaves", folder), ("usual", folder / "fine")):
        made = pipeline.make(Task("Which weave?", name=name), path)
        store = Store(settings.current().home)
        if "champion" not in store.aliases(name):
            store.move_alias(name, "champion", made.model.id, expected=None)
    return [stripes(pitch, 100 + pitch) for pitch in (3, 9, 3, 9)]


def test_pictures_are_answered_as_the_model_does(weaves, tmp_path):
    paths = []
    for at, picture in enumerate(weaves):
        paths.append(str(tmp_path / f"{at}.png"))
        Image.fromarray(picture).save(paths[-1])

    async def run():
        async with serving(settings.current().home) as client:
            inputs = [sent(picture) for picture in weaves]
            return await ask(client, "weaves@champion", inputs), await ask(client, "usual@champion", inputs)

    weave, odd = asyncio.run(run())
    assert (weave.status_code, odd.status_code) == (200, 200), (weave.text, odd.text)
    alone = load("weaves").answer(paths)
    assert [one["label"] for one in weave.json()["results"]] == [one.label for one in alone]
    assert [one["confidence"] for one in weave.json()["results"]] == pytest.approx(
        [one.confidence for one in alone], abs=1e-4
    )
    judged = load("usual").judge(paths)
    results = odd.json()["results"]
    assert [one["score"] for one in results] == pytest.approx(judged.scores.tolist(), rel=1e-3, abs=1e-3)
    assert [one["unusual"] for one in results] == judged.unusual.tolist()
    assert [one["label"] for one in results] == ["unusual" if one else "usual" for one in judged.unusual]


@pytest.mark.parametrize("text", ["/etc/hostname", "file:///etc/hostname", "0.png", "", "data:image/png;base64,AAAA"])
def test_a_path_is_refused_and_the_next_request_is_answered(weaves, tmp_path, text):
    async def run():
        async with serving(settings.current().home) as client:
            refused = await ask(client, "weaves@champion", [text])
            return refused, await ask(client, "weaves@champion", [sent(weaves[0])])

    refused, good = asyncio.run(run())
    assert refused.status_code in (400, 422)
    assert "picture" in refused.json()["error"]["message"].lower()
    assert good.status_code == 200
