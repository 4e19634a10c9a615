"""Models that brought or changed their encoder are served by it, and nobody else is."""

import asyncio

import pytest
import torch
from serve_helpers import ask, serving

from sartor import compressed, derived, load, settings
from sartor.nn import tuned
from sartor.registry.store import Store

TEXTS = ["my card was charged twice", "the app shows a broken screen", "hello"]


def told(answer):
    return [list(one["probabilities"].values()) for one in answer.json()["results"]]


def alone(ref):
    return [list(one.probabilities.values()) for one in load(ref).answer(TEXTS)]


def close(one, other):
    return torch.tensor(one).sub(torch.tensor(other)).abs().max() < 1e-4


@pytest.fixture
def changed(shop):
    """A model whose upper layers are others, and one in eight bits."""
    model = load("mails@v1")
    way, start = tuned.way_of(model.base)
    random = torch.Generator().manual_seed(0)
    trained = {
        name: tensor + torch.randn(tensor.shape, generator=random)
        for name, tensor in way.state_dict().items()
        if name.startswith(f"encoder.layer.{start}.") and tensor.dim() == 2
    }
    weights = {**model.weights, **tuned.tuned_weights(trained, start)}
    other = derived.candidate(model, weights, {}, method="partial", report=model.report)
    shop.store.put(other.manifest, other.files(), "changed")
    small = compressed.compress("mails@v1", "int8", max_loss=99.0).derived
    assert small.model.own_files
    return {"mails@v1": model.id, "changed@v1": shop.id("changed@v1"), small.entry.id: small.entry.id}


@pytest.mark.parametrize("turn", [1, -1], ids=["plain first", "plain last"])
def test_each_is_answered_by_its_own_encoder(changed, turn):
    refs = list(changed)[::turn]

    async def run():
        async with serving(settings.current().home) as client:
            return {ref: told(await ask(client, ref, TEXTS)) for ref in refs}

    found = asyncio.run(run())
    for ref, served in found.items():
        assert close(served, alone(ref)), ref
    assert not close(found["mails@v1"], found["changed@v1"])


def test_a_base_embeds_as_the_base_and_not_as_a_model_that_changed_it(changed):
    store = Store(settings.current().home)
    store.move_alias("changed", "champion", changed["changed@v1"], expected=None)
    name = load("mails@v1").manifest.base.name

    async def run():
        async with serving(settings.current().home) as client:
            await ask(client, "changed@champion", TEXTS)
            one = await client.post("/v1/embeddings", json={"model": name, "input": TEXTS[0]})
            other = await client.post("/v1/embeddings", json={"model": "mails@v1", "input": TEXTS[0]})
            return one, other

    one, other = asyncio.run(run())
    assert one.status_code == 200, one.text
    assert one.json()["data"][0]["embedding"] == pytest.approx(other.json()["data"][0]["embedding"], abs=1e-5)
