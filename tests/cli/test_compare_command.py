"""``sartor compare``: one table, the same rows, the same machine."""

import json
import re
import xml.etree.ElementTree as ET

import pytest
from cli_helpers import ROUTE, write_csv
from tables_helpers import PRICE, TASK, parts, table

from sartor import compared
from sartor.evaluate.timing import Fresh

TEST = [
    ("the bill was charged twice, refund my money", "billing"),
    ("refund the invoice", "billing"),
    ("a crash and an error", "bug"),
    ("the app is broken", "bug"),
    ("hello, a question", "other"),
    ("thanks for this", "other"),
    ("is this about something else?", "unheard of"),
]


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch):
    monkeypatch.setattr(compared.timing, "fresh_process", lambda folder, texts: Fresh(1.5, 200.0, 180.0))


@pytest.fixture
def test_csv(tmp_path):
    return write_csv(tmp_path / "test.csv", TEST)


@pytest.fixture
def two(sartor, made, mails, tmp_path):
    """Two models of the same labels: of all mails, and of the first three of each label."""
    fewer = write_csv(tmp_path / "fewer.csv", [row for at, row in enumerate(mails) if at % 4])
    assert sartor("generate", ROUTE, "--examples", fewer, "--name", "fewer").code == 0
    return "fewer", "mails"


def compare(sartor, *arguments):
    return sartor("compare", *arguments, "--rounds", 1, "--batch", 2)


def test_two_models_are_put_side_by_side(sartor, two, test_csv, tmp_path):
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    ran = compare(sartor, *two, "--data", test_csv, "--json", "--html", page, "--svg", picture, "--price-per-hour", 1)
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["rows"] == len(TEST)
    assert [one["model"] for one in found["models"]] == list(two)
    for one in found["models"]:
        scores = one["quality"]["scores"]
        assert scores["n"] == len(TEST)
        assert scores["accuracy"]["value"] <= 6 / 7  # nobody knows the seventh label
    [pair] = found["contests"]
    assert (pair["model"], pair["against"]) == ("mails", "fewer")
    first, second = (one["quality"]["scores"]["accuracy"]["value"] for one in found["models"])
    assert round((second - first) * len(TEST)) == pair["gained"] - pair["negative_flips"]
    for cost in found["costs"]:
        assert cost["cold_start_s"] == 1.5
        assert [one["batch"] for one in cost["throughput"]] == [2]
        assert 0 < cost["latency_p50_ms"] <= cost["latency_p95_ms"] <= cost["latency_p99_ms"]
        assert cost["size_bytes"] > 1000 < cost["base_bytes"]
        assert cost["price_per_million"] == pytest.approx(1 / 3600 / cost["throughput"][0]["per_second"] * 1e6)
    assert found["pick"] in two
    assert found["machine"]["cores"] >= 1
    svg = ET.fromstring(picture.read_text())
    assert len(svg.findall(".//{http://www.w3.org/2000/svg}circle")) == 2
    assert "http" not in re.sub(r'xmlns="[^"]+"', "", page.read_text())


def test_a_person_reads_tables(sartor, two, test_csv):
    ran = compare(sartor, *two, "--data", test_csv)
    assert ran.code == 0, ran.err
    for word in ("negative flips", "p99 ms", "peak MB", "rounds in which models take turns", "Next:"):
        assert word in ran.out


def test_one_model_has_no_pair(sartor, made, test_csv):
    assert compare(sartor, "mails", "--data", test_csv, "--json").json["contests"] == []


def test_the_rows_that_a_model_was_made_from_are_told(sartor, made, mails_csv):
    ran = compare(sartor, "mails", "--data", mails_csv)
    assert "made from these very rows" in ran.out


def test_kpis_become_columns_and_a_verdict(sartor, two, test_csv, tmp_path):
    kpi = tmp_path / "kpi.yaml"
    kpi.write_text(
        "costs: {billing: {bug: 9}, otherwise: 1}\n"
        "kpis:\n - {name: cost a mail, value: mean(cost), max: 100}\n - {name: fast, value: latency_p95_ms, max: 0}\n"
        "must_pass: [{text: refund the invoice, label: nothing such}]\n"
    )
    ran = compare(sartor, *two, "--data", test_csv, "--kpi", kpi)
    assert "NOT KEPT" in ran.out
    assert "fast (at most 0)" in ran.out
    assert "0 of 1; not 1" in ran.out
    assert "No model keeps every KPI" in ran.out
    found = compare(sartor, *two, "--data", test_csv, "--kpi", kpi, "--json").json
    assert [value["passed"] for value in found["models"][0]["kpis"]["values"]] == [True, False]
    assert found["pick"] is None


def test_figures_of_another_machine_stand_beside_ours(sartor, two, test_csv, tmp_path):
    other = tmp_path / "plant.json"
    found = compare(sartor, "mails", "--data", test_csv, "--json").json
    for cost in found["costs"]:
        cost["machine"] = "a plant's box"
    other.write_text(json.dumps(found))
    ran = compare(sartor, *two, "--data", test_csv, "--import", other, "--json")
    assert [(one["machine"] == "a plant's box", one["imported"]) for one in ran.json["costs"]] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    shown = compare(sartor, *two, "--data", test_csv, "--import", other)
    assert "a plant's box" in shown.out
    other.write_text("{}")
    assert compare(sartor, "mails", "--data", test_csv, "--import", other).code == 2


@pytest.fixture
def parts_csv(tmp_path):
    return table(tmp_path / "parts.csv", parts(60, without=["price"]))


def test_tables_are_compared_by_their_rows(sartor, few_peers, parts_csv, tmp_path):
    sartor("generate", TASK, "--examples", parts_csv, "--target", "failed", "--name", "fails")
    test = table(tmp_path / "new.csv", parts(20, start=900, without=["price"]))
    ran = compare(sartor, "fails", "--data", test, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["models"][0]["quality"]["scores"]["n"] == 20
    assert ran.json["costs"][0]["base_bytes"] == 0


def test_values_are_compared_by_what_they_tell(sartor, few_peers, tmp_path):
    rows = table(tmp_path / "prices.csv", parts(60, without=["failed"]))
    for name, seed in (("one", 1), ("two", 2)):
        ran = sartor("generate", PRICE, "--examples", rows, "--target", "price", "--name", name, "--seed", seed)
        assert ran.code == 0, ran.err
    test = table(tmp_path / "new.csv", parts(20, start=900, without=["failed"]))
    ran = compare(sartor, "one", "two", "--data", test, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["contests"][0]["negative_flips"] is None
    assert ran.json["models"][0]["quality"]["numbers"]["r2"]["value"] > 0.5
    kpi = tmp_path / "kpi.yaml"
    kpi.write_text("kpis: [{name: off by, value: mean(abs(error)), max: 100}]")
    assert "kept" in compare(sartor, "one", "two", "--data", test, "--kpi", kpi).out


def test_models_that_write_are_compared_by_exact_answers(sartor, tiny, tmp_path):
    rows = [(f"say {at}", f"{at}!") for at in range(9)]
    few = write_csv(tmp_path / "few.csv", rows, ("input", "output"))
    for name in ("one", "two"):
        ran = sartor("generate", "Say it", "--examples", few, "--kind", "text-generation", "--name", name)
        assert ran.code == 0, ran.err
    kpi = tmp_path / "kpi.yaml"
    kpi.write_text("kpis: [{name: exact, value: share(right), min: 0}]")
    ran = compare(sartor, "one", "two", "--data", few, "--kpi", kpi, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["kind"] == "texts"
    [pair] = ran.json["contests"]
    assert (pair["gained"], pair["negative_flips"]) == (0, 0)
    written = ran.json["models"][0]["quality"]["written"]
    assert written["n"] == 9
    assert ran.json["models"][0]["kpis"]["values"][0]["value"] == written["exact_match"]["value"]


def test_models_of_two_kinds_are_refused(sartor, few_peers, made, parts_csv, test_csv):
    sartor("generate", TASK, "--examples", parts_csv, "--target", "failed", "--name", "fails")
    ran = compare(sartor, "mails", "fails", "--data", test_csv)
    assert ran.code == 2
    assert "different questions" in ran.err


def test_a_model_named_twice_is_refused(sartor, made, test_csv):
    assert compare(sartor, "mails", "mails", "--data", test_csv).code == 2
