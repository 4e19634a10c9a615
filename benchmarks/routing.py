"""When does a large model help? Public outcomes of two models, and small models of ours beside a scripted large one.

(1) RouteLLM's outcomes (MMLU and GSM8K: Mixtral-8x7B and GPT-4, right or wrong on each prompt). From some labelled
outcomes drawn at random, the help predictor of :mod:`sartor.serve.router_help` reads the prompt alone (all frozen
layers of the encoder, hashed words: as the router does, less what only an own small model could say) and orders all
other prompts. Beside it, on the same rows: TF-IDF of words and pairs with logistic regression on "only the large model
is right" and on "the small model is wrong", and the oracle. Weights of blocks and ridge are chosen by left-out rows of
what was drawn. Figures: APGR, and CPT(50), CPT(80), the least share of calls that recovers so much of the gap.

(2) FrugalGPT's HEADLINES, BANKING77 and CLINC150: a model of ours, made from few rows, and a large one that is a
script: it answers from the gold labels, rightly so often as GPT-4-turbo on HEADLINES (.856), else .95, wherever. This
tells of routing alone; a script is not wrong on what is hard, as a real model is.

    python -m benchmarks.routing --data DATA [--rows 0] [--seeds 5]
"""

import csv
import io
import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from benchmarks.common import Encoder, Run, arguments, public_sets, read_archive, seed_mean, seed_p_value, table
from sartor import pipeline
from sartor.assets.catalogue import for_language
from sartor.llm import connect
from sartor.llm.policy import Policy
from sartor.model import Classifier
from sartor.nn.features import TextFeatures
from sartor.nn.text_base import POOLED, load_base
from sartor.serve import collaboration, router_help
from sartor.serve.collaboration import apgr, deferral_curve
from sartor.serve.router import OfClassifier, unit_rows
from sartor.settings import Settings
from sartor.types import Example, Requirement, Task

_SMALL, _LARGE = "mistralai/Mixtral-8x7B-Instruct-v0.1", "gpt-4-1106-preview"
_SIZES = {"mmlu": (500, 1500), "gsm8k": (200, 500, 600)}
_MAX_TOKENS = 192

Scores: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Prompts, and which of two models is right."""

    prompts: tuple[str, ...]
    small: Scores
    large: Scores

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Outcomes":
        """Return these rows."""
        return Outcomes(tuple(self.prompts[row] for row in rows), self.small[rows], self.large[rows])

    @property
    def gain(self) -> Scores:
        """Return (N,) 1 where only the large model is right, -1 where only the small one is, else 0."""
        return self.large - self.small


def outcomes(files: Mapping[str, bytes], benchmark: str) -> Outcomes:
    """Return RouteLLM's outcomes on a benchmark."""
    prompts: list[str] = []
    small: list[float] = []
    large: list[float] = []
    for name, content in sorted(files.items()):
        if f"routellm/{benchmark}/" not in name or not name.endswith(".csv"):
            continue
        for row in csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")):
            prompts.append(row["prompt"])
            small.append(float(row[_SMALL] == "True"))
            large.append(float(row[_LARGE] == "True"))
    return Outcomes(tuple(prompts), np.array(small), np.array(large))


# --- ways to order prompts ---------------------------------------------------------------------------------


def help_predictor(known: Outcomes, new: Outcomes, read: TextFeatures, asked: TextFeatures) -> Scores:
    """Return what the router's own predictor expects of asking."""
    return router_help.fit(blocks(read), known.gain).predict(blocks(asked))


def blocks(features: TextFeatures) -> list[Any]:
    """Return what is read of a prompt: all frozen layers, and words."""
    pooled = features.pooled[:, : len(POOLED)]
    return [pooled.reshape(len(pooled), -1).astype(np.float64), unit_rows(features.words)]


def tfidf(known: Outcomes, new: Outcomes, target: NDArray[np.bool_]) -> Scores:
    """Return TF-IDF with logistic regression on a target."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LogisticRegression(max_iter=1000).fit(words.fit_transform(known.prompts), target)
    return model.predict_proba(words.transform(new.prompts))[:, 1]


def ways(known: Outcomes, new: Outcomes, read: TextFeatures, asked: TextFeatures) -> dict[str, Scores]:
    """Return (M,) scores of every way."""
    return {
        "help predictor": help_predictor(known, new, read, asked),
        "TF-IDF + LR, large helps": tfidf(known, new, known.gain > 0),
        "TF-IDF + LR, small fails": tfidf(known, new, known.small == 0),
        "random": np.zeros(len(new.prompts)),
        "oracle": new.gain,
    }


def figures(score: Scores, new: Outcomes) -> dict[str, float]:
    """Return APGR, CPT(50), CPT(80) and the best accuracy of any share of calls."""
    curve = deferral_curve(score, new.gain)
    gap = curve[-1]
    return {
        "apgr": apgr(score, new.gain),
        "cpt50": _least(curve / gap, 0.5),
        "cpt80": _least(curve / gap, 0.8),
        "best": float(new.small.mean() + curve.max()),
    }


def _least(recovered: Scores, part: float) -> float:
    return float(np.flatnonzero(recovered >= part)[0] / (len(recovered) - 1))


def public_outcomes(run: Run, files: Mapping[str, bytes], encoder: Encoder, most: int) -> list[dict[str, Any]]:
    """Return a row for each benchmark, size, seed and way."""
    rows: list[dict[str, Any]] = []
    for benchmark, sizes in _SIZES.items():
        whole = outcomes(files, benchmark)
        # a sample, where one is asked for, is the beginning of one order, so that a larger one holds it
        order = np.random.default_rng(0).permutation(len(whole.prompts))
        sample = whole.take(order[: most or len(order)])
        run.say(f"{benchmark}: {len(sample.prompts)} of {len(whole.prompts)} prompts")
        features = encoded(encoder, sample.prompts)
        for size in sizes:
            for seed in run.seeds:
                drawn = np.random.default_rng([seed, size]).permutation(len(sample.prompts))
                known, new = sample.take(drawn[:size]), sample.take(drawn[size:])
                scores = ways(known, new, features.take(drawn[:size]), features.take(drawn[size:]))
                head = {"set": benchmark, "prompts": len(sample.prompts), "outcomes": size, "seed": seed}
                rows += [{**head, "way": way, **figures(score, new)} for way, score in scores.items()]
            run.say(f"{benchmark}, {size} outcomes")
    return rows


def encoded(encoder: Encoder, prompts: Sequence[str]) -> TextFeatures:
    """Return the features of prompts, encoded once."""
    need = Requirement("text-classification", "prompts", "", (), "en", encoder.base.ref.name, _MAX_TOKENS)
    return encoder(need, list(prompts))


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return means over seeds with intervals, and the predictor's lead over the control, paired."""
    found: list[dict[str, Any]] = []
    for benchmark, size in dict.fromkeys((row["set"], row["outcomes"]) for row in rows):
        cell = [row for row in rows if (row["set"], row["outcomes"]) == (benchmark, size)]
        by = {way: [row for row in cell if row["way"] == way] for way in dict.fromkeys(row["way"] for row in cell)}
        for way, several in by.items():
            means = {name: seed_mean([row[name] for row in several]) for name in ("apgr", "cpt50", "cpt80", "best")}
            lead = [a["apgr"] - b["apgr"] for a, b in zip(by["help predictor"], several, strict=True)]
            found.append(
                {
                    "set": benchmark,
                    "outcomes": size,
                    "way": way,
                    **means,
                    "predictor_leads_by": seed_mean(lead),
                    "p": seed_p_value(lead),
                }
            )
    return found


# --- own small models --------------------------------------------------------------------------------------

_TASKS: Mapping[str, tuple[str, float]] = {
    "headlines": ("Which way does this headline say the price of gold goes?", 0.856),
    "banking77": ("Which intent does this query of a bank's customer have?", 0.95),
    "clinc150": ("Which intent does this query to an assistant have?", 0.95),
}


def own_rows(files: Mapping[str, bytes], data: Path, name: str, seed: int) -> tuple[list[Example], list[Example]]:
    """Return rows that a model is made from, and others."""
    rng = random.Random(seed)
    if name != "headlines":
        sets = public_sets(data)[name]
        test = list(sets["test"])
        rng.shuffle(test)
        return list(sets["train_5"]), test[:1000]
    parts: list[list[Example]] = []
    for part, most in (("train", 64), ("test", 1000)):
        [content] = [content for path, content in files.items() if path.endswith(f"frugalgpt_headlines/{part}.csv")]
        read = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
        rows = [Example(row[0].removeprefix("Q: ").partition("\nA:")[0], row[1]) for row in read]
        rng.shuffle(rows)
        parts.append(rows[:most])
    return parts[0], parts[1]


def own_models(run: Run, files: Mapping[str, bytes], data: Path) -> list[dict[str, Any]]:
    """Return a row for each task and arm."""
    rows: list[dict[str, Any]] = []
    for name, (description, accuracy) in _TASKS.items():
        train, test = own_rows(files, data, name, seed=0)
        small = made(description, train)
        gold = {row.input: str(row.output) for row in test}
        policy = Policy(default_action="mask")
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(Path(folder), Path(folder), offline=True)
            spec = f"scripted:accuracy={accuracy}"
            with closing(connect(spec, policy, settings, gold=gold, labels=[*small.classes_])) as large:
                found = collaboration.evaluate(OfClassifier(small), large, test, policy)
        head = {"set": name, "made_from": len(train), "judged": found.rows, "large": spec}
        rows += [{**head, **arm.as_json()} for arm in found.arms]
        rows.append({**head, "arm": "summary", "apgr": found.apgr, "recovered_at_20": found.recovered})
        run.say(f"{name}: at a fifth of the calls {found.recovered}")
    return rows


def made(description: str, train: Sequence[Example]) -> Classifier:
    """Return a model of ours made from rows."""
    task = Task(description=description, kind="text-classification")
    model = pipeline.generate(task, [(row.input, str(row.output)) for row in train], store=False)
    assert isinstance(model, Classifier)
    return model


def main() -> None:
    """Judge all ways and all tasks, and write the figures."""
    extend: dict[str, dict[str, Any]] = {
        "--rows": {"type": int, "default": 0, "help": "prompts of a benchmark at most, drawn at random; 0 is all"}
    }
    options = arguments(__doc__ or "", seeds=5, extend=extend)
    run = Run("routing", options, seeds=range(options.seeds))
    files = read_archive(options.data / "routing" / "routing.tar.xz")
    encoder = Encoder(load_base(for_language("en")), options.cache)
    rows = public_outcomes(run, files, encoder, options.rows)
    found = summary(rows)
    own = own_models(run, files, options.data)
    run.write([*rows, *own], {"outcomes": found, "base": encoder.base.ref.name, "max_tokens": _MAX_TOKENS})
    show = [
        (
            *(one["set"], one["outcomes"], one["way"]),
            *(f"{one[key].value:.3f}" for key in ("apgr", "cpt50", "cpt80")),
            *(f"{one['predictor_leads_by'].value:+.3f}", f"{one['p']:.4f}"),
        )
        for one in found
    ]
    print(table(("set", "outcomes", "way", "APGR", "CPT50", "CPT80", "predictor leads by", "p"), show))


if __name__ == "__main__":
    main()
