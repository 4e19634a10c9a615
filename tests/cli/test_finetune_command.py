"""``sartor finetune``: more rows, from the generated weights, kept only if not worse."""

import numpy as np
import pytest
from cli_helpers import write_csv
from limited_disk import no_file_above
from tables_helpers import PRICE, TASK, parts, table

import sartor
from sartor import finetuned
from sartor.errors import TaskError
from sartor.finetune import generated, writer
from sartor.finetune.adapted_head import Options, adapt, class_weights
from sartor.finetune.interface import Budget
from sartor.nn.tuned import TUNED

ENDS = ["now", "again", "today", "at once", "please", "for me", "in this app", "and more", "to this", "of it"]


@pytest.fixture
def more(mails):
    """Sixty rows more."""
    return [(f"{text} {end}", label) for end in ENDS[:5] for text, label in mails]


@pytest.fixture
def more_csv(tmp_path, more):
    return write_csv(tmp_path / "more.csv", more)


@pytest.mark.parametrize("method", ["head", "lora", "partial", "full"])
def test_a_tuned_model_is_a_model_as_any_other(sartor, made, more, more_csv, method, tmp_path):
    ran = sartor("finetune", "mails", "--data", more_csv, "--method", method, "--budget", "12steps", "--json")
    assert ran.code in (0, 3), ran.err
    found = ran.json
    assert found.keys() >= {"id", "parent", "method", "seconds", "kept", "report"}
    assert (found["parent"], found["method"], found["kept"]) == (made["id"], method, ran.code == 0)
    assert (found["steps"] > 0) == (method != "head")
    assert found["best_step"] <= found["steps"] <= 12
    assert found["report"]["baselines"][-1]["name"] == "parent"
    assert found["report"]["protocol"]["kind"] == ("cross-validation" if method == "head" else "holdout")
    texts = [text for text, _ in more[:6]]
    answers = sartor("predict", found["id"], *texts, "--json").json["answers"]
    assert len(answers) == 6
    shown = sartor("show", found["id"], "--json").json
    assert (shown["parent"], shown["method"], shown["data"]["rows"]) == (made["id"], method, 60)
    assert any(name.startswith(TUNED) for name in shown["shapes"]) == (method != "head")
    # what is exported and compressed is the tuned encoder, not the base's
    out = tmp_path / "out"
    assert sartor("export", found["id"], "--format", "onnx", "--out", out).code == 0
    from sartor.compress import text_predict

    wanted = [[one["probabilities"][label] for label in made["labels"]] for one in answers]
    np.testing.assert_allclose(text_predict.Model(out).scores(texts)[0], wanted, atol=1e-4)


def test_the_report_is_of_what_is_stored(sartor, made, more, more_csv):
    """The judged rows are answered by the stored bundle as the report says."""
    found = sartor("finetune", "mails", "--data", more_csv, "--method", "lora", "--budget", "20steps", "--json").json
    from sartor.data import split

    labels = {label: at for at, label in enumerate(made["labels"])}
    targets = np.array([labels[label] for _, label in more])
    groups = np.asarray(split.group_by_text([text for text, _ in more]))
    _, judged = split.holdout(groups, targets, 0.2, 1000, 0)
    assert len(judged) == found["judged_rows"] == found["report"]["scores"]["n"]
    answers = sartor("predict", found["id"], *[more[row][0] for row in judged], "--json").json["answers"]
    right = np.mean([one["label"] == more[row][1] for one, row in zip(answers, judged, strict=True)])
    assert right == pytest.approx(found["report"]["scores"]["accuracy"]["value"])


def test_nothing_changes_by_zero_steps_and_all_starts_at_the_generated_weights(made, more):
    model = sartor.load(made["id"])
    from sartor.families import text_classification

    base = model.base
    texts = [text for text, _ in more]
    encoded = model.family.encode(base, model.requirement, texts)
    scores = text_classification.scores(model.weights, encoded)
    pooled = np.einsum("nph,phc->nc", encoded.pooled, model.weights["pooled.weight"].float().numpy())
    start = generated.Start(
        base=base,
        texts=texts,
        targets=np.zeros(len(texts), dtype=np.int64),
        pooled=encoded.pooled,
        beside=scores - pooled - model.weights["bias"].numpy(),
        head=model.weights["pooled.weight"],
        bias=model.weights["bias"],
        temperature=float(model.weights["temperature"]),
        max_tokens=64,
    )
    import torch

    for method in generated.METHODS:
        run = generated._Run(start, method, Options(), 0)
        with torch.no_grad():
            logits = run._logits(torch.arange(len(texts)))
        np.testing.assert_allclose(logits.numpy(), start.temperature * scores, atol=2e-4)
        before = run.loss_on(np.arange(20))
        for _ in range(10):
            run.step(torch.arange(20))
        assert run.loss_on(np.arange(20)) < before


def test_an_interrupt_keeps_the_best_so_far(sartor, made, more_csv, monkeypatch):
    step = generated._Run.step
    calls = []

    def interrupted(self, rows):
        calls.append(rows)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(self, rows)

    monkeypatch.setattr(generated._Run, "step", interrupted)
    ran = sartor("finetune", "mails", "--data", more_csv, "--method", "lora", "--budget", "50steps", "--json")
    assert ran.code in (0, 3), ran.err
    assert ran.json["interrupted"]
    assert ran.json["steps"] == 4
    assert sartor("predict", ran.json["id"], "hello").code == 0


def test_a_killed_training_goes_on_and_ends_as_if_it_had_not_been(sartor, made, more_csv, tiny, monkeypatch):
    from sartor import settings

    arguments = [made["id"], "--data", more_csv, "--method", "lora", "--budget", "10steps", "--json"]
    whole = sartor("finetune", *arguments).json
    step, calls = generated._Run.step, []

    def killed(self, rows):
        calls.append(rows)
        if len(calls) == 7:
            raise SystemError("killed")
        return step(self, rows)

    monkeypatch.setattr(generated._Run, "step", killed)
    with pytest.raises(SystemError):
        sartor("finetune", *arguments)
    [kept] = (settings.current().cache / "finetune").iterdir()
    again = sartor("finetune", *arguments).json
    assert not kept.exists()
    assert len(calls) == 7 + 4
    assert again["steps"] == whole["steps"] == 10
    hashes = [sartor("show", one["id"], "--json").json["files"]["model.safetensors"] for one in (whole, again)]
    assert hashes[0] == hashes[1]
    kept.write_bytes(b"no training")
    assert sartor("finetune", *arguments).json["steps"] == 10


def test_the_method_is_chosen_and_told(sartor, made, mails, more_csv, tmp_path):
    few = write_csv(tmp_path / "few.csv", [(f"{text} now", label) for text, label in mails])
    found = sartor("finetune", "mails", "--data", few, "--json").json
    assert found["method"] == "head"
    assert "too few for gradients" in found["why"]
    long = write_csv(tmp_path / "long.csv", [(f"{text} {end}", label) for end in ENDS for text, label in mails])
    assert sartor("finetune", "mails", "--data", long, "--budget", "5s", "--json").json["method"] == "head"
    found = sartor("finetune", "mails", "--data", long, "--budget", "1steps", "--json").json
    assert (found["method"], "rank 8" in found["why"]) == ("lora", True)


def test_a_candidate_that_is_worse_is_refused_and_listed(sartor, made, mails, tmp_path, monkeypatch):
    monkeypatch.setattr(finetuned, "not_worse", lambda *_: (False, "It is worse."))
    data = write_csv(tmp_path / "few.csv", [(f"{text} now", label) for text, label in mails])
    ran = sartor("finetune", "mails", "--data", data, "--json")
    assert (ran.code, ran.json["kept"], ran.json["name"]) == (3, False, "mails.rejected")
    assert sartor("predict", "mails", "hello", "--json").json["model"] == made["id"]


def test_the_gate_holds_a_candidate_against_its_parent():
    targets = np.array([0, 0, 1, 1])
    right, wrong = np.eye(2)[targets], np.eye(2)[1 - targets]
    assert finetuned.not_worse(targets, right, wrong)[0]
    assert not finetuned.not_worse(targets, wrong, right)[0]
    assert finetuned.not_worse(targets, right, right)[0]
    unsure = 0.6 * right + 0.4 * wrong
    assert finetuned.not_worse(targets, right, unsure)[0]
    assert not finetuned.not_worse(targets, unsure, right)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "lorra"], "Did you mean 'lora'"),
        (["--budget", "soon"], "60s, 5m, 200steps"),
        (["--budget", "0.5steps"], "60s, 5m, 200steps"),
        (["--budget", "0s"], "before the first step"),
        (["--budget", "0steps", "--method", "lora"], "before the first step"),
        (["--label-smoothing", "2"], "from 0 to below 1"),
        (["--label-column", "lable"], "no column"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(sartor, made, more_csv, arguments, said):
    ran = sartor("finetune", "mails", "--data", more_csv, *arguments)
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert len(sartor("models", "--json").json["models"]) == 1


def test_more_labels_than_the_model_has_are_refused_with_a_way_out(sartor, made, more, tmp_path):
    data = write_csv(tmp_path / "new.csv", [*more, ("a parcel is late", "shipping")])
    ran = sartor("finetune", "mails", "--data", data)
    assert ran.code == 2
    assert "'shipping'" in ran.err
    assert "generate it anew" in ran.err


def test_too_few_rows_are_refused(sartor, made, mails, tmp_path):
    few = write_csv(tmp_path / "few.csv", mails[:3])
    assert sartor("finetune", "mails", "--data", few).code == 2
    some = write_csv(tmp_path / "some.csv", mails)
    ran = sartor("finetune", "mails", "--data", some, "--method", "lora")
    assert (ran.code, "--method head" in ran.err) == (2, True)


def test_a_compressed_model_is_not_fine_tuned(sartor, made, more_csv):
    new = sartor("compress", "mails", "--to", "onnx", "--max-loss", 50, "--json").json
    ran = sartor("finetune", new["id"], "--data", more_csv)
    assert (ran.code, made["id"] in ran.err) == (2, True)


def test_a_full_disk_leaves_nothing_behind(sartor, made, more_csv):
    with no_file_above(60_000):
        ran = sartor("finetune", "mails", "--data", more_csv, "--method", "head")
    assert (ran.code, "Cannot write" in ran.err) == (2, True), ran.err
    assert len(sartor("models", "--json").json["models"]) == 1


def test_the_same_seed_gives_the_same_weights(sartor, made, more_csv):
    ids = []
    for _ in range(2):
        arguments = [made["id"], "--data", more_csv, "--method", "lora", "--budget", "3steps", "--json"]
        found = sartor("finetune", *arguments).json
        ids.append(sartor("show", found["id"], "--json").json["files"]["model.safetensors"])
    assert ids[0] == ids[1]


# --- tables ------------------------------------------------------------------------------------------------


def drifted(n, start):
    """Return parts whose failures go another way than those that the model was made from."""
    rows = parts(n, start=start, without=["price"])
    return [{**row, "failed": "yes" if float(row["width"]) > 3 else "no"} for row in rows]


def test_the_head_of_a_table_is_solved_anew(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(80, without=["price"]))
    parent = sartor("generate", TASK, "--examples", rows, "--target", "failed", "--name", "fails", "--json").json
    data = table(tmp_path / "drifted.csv", drifted(120, 500))
    ran = sartor("finetune", "fails", "--data", data, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["method"], ran.json["parent"]) == ("head", parent["id"])
    [pair] = [one["paired"] for one in ran.json["report"]["baselines"] if one["name"] == "parent"]
    assert pair["difference"]["value"] > 0.1
    test = table(tmp_path / "test.csv", drifted(100, 900))
    found = sartor("evaluate", ran.json["id"], "--data", test, "--json").json["scores"]["accuracy"]["value"]
    before = sartor("evaluate", parent["id"], "--data", test, "--json").json["scores"]["accuracy"]["value"]
    assert found > before + 0.1


def test_values_are_solved_anew(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "prices.csv", parts(80, without=["failed"]))
    assert sartor("generate", PRICE, "--examples", rows, "--target", "price", "--name", "price").code == 0
    new = [{**row, "price": f"{2 * float(row['price']) + 5:.2f}"} for row in parts(100, start=500, without=["failed"])]
    ran = sartor("finetune", "price", "--data", table(tmp_path / "new.csv", new), "--json")
    assert ran.code == 0, ran.err
    [other] = ran.json["report"]["numbers"]["baselines"]
    assert (other["name"], other["verdict"]) == ("parent", "better")
    assert ran.json["report"]["numbers"]["scores"]["r2"]["value"] > 0.8


def test_drifted_columns_are_told(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "parts.csv", parts(80, without=["price"]))
    sartor("generate", TASK, "--examples", rows, "--target", "failed", "--name", "fails")
    new = [{("widht" if name == "width" else name): cell for name, cell in row.items()} for row in drifted(40, 500)]
    ran = sartor("finetune", "fails", "--data", table(tmp_path / "new.csv", new))
    assert (ran.code, "width" in ran.err) == (2, True), ran.err
    gone = [{name: cell for name, cell in row.items() if name != "failed"} for row in drifted(40, 500)]
    assert sartor("finetune", "fails", "--data", table(tmp_path / "gone.csv", gone)).code == 2
    ran = sartor("finetune", "fails", "--data", table(tmp_path / "ok.csv", drifted(40, 500)), "--method", "lora")
    assert (ran.code, "--method head" in ran.err) == (2, True)


# --- models that write -------------------------------------------------------------------------------------


def test_the_adapter_of_a_model_that_writes_is_trained(sartor, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "RATE", 1e-2)
    few = write_csv(tmp_path / "few.csv", [(f"say {at}", f"{at}!") for at in range(6)], ("input", "output"))
    task = "Rewrite the words in capital letters"
    ran = sartor("generate", task, "--examples", few, "--kind", "text-generation", "--name", "marks", "--json")
    assert ran.code == 0, ran.err
    rows = [(f"say {at}", f"{at}!") for at in range(40, 80)]
    data = write_csv(tmp_path / "more.csv", rows, ("input", "output"))
    found = sartor("finetune", "marks", "--data", data, "--budget", "20steps", "--json")
    assert found.code == 0, found.err
    told = found.json
    assert (told["method"], told["kept"], told["parent"]) == ("lora", True, ran.json["id"])
    assert 0 < told["best_step"] <= told["steps"] == 20
    assert "nats a token" in told["reasons"][0]
    assert sartor("predict", told["id"], "say 3", "--max-new-tokens", 4, "--json").code == 0
    out = tmp_path / "peft"
    assert sartor("export", told["id"], "--format", "peft", "--out", out).code == 0
    assert sartor("finetune", "marks", "--data", few).code == 2
    assert sartor("finetune", "marks", "--data", data, "--method", "head").code == 2


# --- parts -------------------------------------------------------------------------------------------------


def test_a_head_moves_where_rows_say_so_and_stays_where_they_say_nothing():
    random = np.random.default_rng(0)
    rows = random.normal(size=(80, 12))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    truth = rows @ random.normal(size=(12, 3))
    targets = truth.argmax(axis=1)
    groups = np.arange(80)
    nothing = np.zeros((80, 3))
    found = adapt({"last": rows}, nothing, targets, groups, Options(), seed=0)
    assert (found.left_out.argmax(axis=1) == targets).mean() > 0.75
    logits = rows @ found.weights["last"] + found.bias
    assert (logits.argmax(axis=1) == targets).mean() > 0.85
    noise = random.integers(0, 3, 80)
    stays = adapt({"last": rows}, 8 * np.eye(3)[noise] - 4, noise, groups, Options(), seed=0)
    assert np.abs(stays.weights["last"]).max() < 0.5
    scrambled = adapt({"last": rows}, nothing, noise, groups, Options(), seed=0)
    assert scrambled.penalty >= 3


def test_classes_may_count_alike():
    targets = np.array([0] * 9 + [1])
    counted = class_weights(targets, True)
    assert counted[:9].sum() == pytest.approx(counted[9:].sum())
    rows = np.ones((10, 1))
    found = adapt({"last": rows}, np.zeros((10, 2)), targets, np.arange(10), Options(balanced=True), seed=0)
    assert abs(found.bias[0] - found.bias[1]) < 0.2


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("60s", Budget(60.0, None)),
        ("1.5m", Budget(90.0, None)),
        ("200steps", Budget(None, 200)),
        ("1 step, 10 s", Budget(10.0, 1)),
    ],
)
def test_budgets_are_read(text, budget):
    assert finetuned.parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "s", "10", "-1s", "1h", "1.5steps", "ten s"])
def test_budgets_that_are_none(text):
    with pytest.raises(TaskError):
        finetuned.parse_budget(text)
