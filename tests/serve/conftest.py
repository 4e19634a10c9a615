"""A store with models of several families, made once; every test has a copy of its own."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from serve_helpers import LABELS, ROWS, Child, parts_csv

import tiny_base
import tiny_language
from sartor import cli, pipeline, settings
from sartor.assets import catalogue
from sartor.families import tabular_classification, tabular_regression
from sartor.nn import table_solver
from sartor.registry.store import Store
from sartor.types import Task


@pytest.fixture(scope="session")
def stocked(tmp_path_factory):
    """``mails`` (v1 the champion, v2 as good, v3 wrong), ``tickets``, ``parts`` (a table), ``prices`` (its values) and
    the writers ``w0`` to ``w3``."""
    folder = tmp_path_factory.mktemp("stocked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SARTOR_HOME", str(folder / "home"))
        patch.setenv("SARTOR_CACHE", str(folder / "cache"))
        patch.setenv("SARTOR_OFFLINE", "1")
        settings.current.cache_clear()
        patch.setattr(catalogue, "_BASES", tiny_base.specs(folder / "cache"))
        patch.setattr(catalogue, "_LANGUAGE_MODELS", tiny_language.specs(folder / "cache"))
        patch.setattr(pipeline, "_COST_SECONDS", 0.01)
        for family in (tabular_classification, tabular_regression):
            patch.setattr(family, "PEERS", ())
        patch.setitem(table_solver.solve.__kwdefaults__, "members", 4)
        patch.setattr(table_solver, "DEPLOYED_PRODUCTS", 32)
        made = pipeline.make(Task("Route mails", name="mails", labels=dict.fromkeys(LABELS, "")), ROWS).model
        store = Store(folder / "home")
        put(store, made, "mails", seed=2)
        put(store, made, "mails", seed=3, turned=True)
        ticket = put(store, made, "tickets", seed=4, turned=True)
        store.move_alias("tickets", "champion", ticket.id, expected=None)
        for name, target in (("parts", "failed"), ("prices", "price")):
            path = parts_csv(folder / f"{name}.csv")
            assert (
                cli.run(["generate", "Foretell it", "--examples", str(path), "--target", target, "--name", name]) == 0
            )
        lines = [f'{{"name": "w{at}", "description": "Say the word {word}"}}\n' for at, word in enumerate("abcd")]
        (folder / "many.jsonl").write_text("".join(lines))
        assert cli.run(["generate", "--many", str(folder / "many.jsonl")]) == 0
    settings.current.cache_clear()
    return folder


def put(store, model, name, *, seed, turned=False, **weights):
    """Put another version of a model: with another seed, perhaps with every label taken for the next."""
    made = dict(model.weights) | weights
    if turned:
        of_labels = [key for key in made if key == "bias" or key.endswith(".weight")]
        made |= {key: made[key].roll(1, -1).contiguous() for key in of_labels}
    draft = pipeline.of_manifest(replace(model.manifest, seed=seed, name=name), model.report, made)
    return store.put(draft.manifest, draft.files(), name)


@pytest.fixture
def shop(stocked, tmp_path, monkeypatch):
    """A copy of the store; ``shop.home``, ``shop.store`` and ``shop.put``."""
    home = tmp_path / "home"
    shutil.copytree(stocked / "home", home)
    monkeypatch.setenv("SARTOR_HOME", str(home))
    monkeypatch.setenv("SARTOR_CACHE", str(stocked / "cache"))
    monkeypatch.setenv("SARTOR_OFFLINE", "1")
    settings.current.cache_clear()
    monkeypatch.setattr(catalogue, "_BASES", tiny_base.specs(stocked / "cache"))
    monkeypatch.setattr(catalogue, "_LANGUAGE_MODELS", tiny_language.specs(stocked / "cache"))
    store = Store(home)

    def another(seed, turned=False, name="mails", **weights):
        return put(store, pipeline.load_model("mails@v1"), name, seed=seed, turned=turned, **weights)

    yield SimpleNamespace(home=home, store=store, put=another, id=lambda ref: store.get(ref).id)
    settings.current.cache_clear()


@pytest.fixture
def child(shop):
    """Start servers in processes of their own; none outlives the test."""
    started = []

    def start(*arguments, wait=True, before=()):
        started.append(Child(shop.home, arguments, before))
        if wait:
            started[-1].wait_ready()
        return started[-1]

    yield start
    for one in started:
        one.kill()
