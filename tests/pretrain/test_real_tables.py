import io
import json
import tarfile

import numpy as np
import pandas as pd
import pytest

from sartor.errors import DataError
from sartor.pretrain import real_tables
from sartor.pretrain.real_tables import CC18, RealTable

PARTS = "size,kind,target\n1.5,NA,yes\n,b,no\n2,,yes\n3,b,\n"
"""A number and a name are missing; ``NA`` is a name; the last row has no target."""


def files(name, text, task="classification", **about):
    return {f"{name}/data.csv": text, f"{name}/meta.json": json.dumps({"name": name, "task": task, **about})}


def extracted(folder, group, contents):
    for path, text in contents.items():
        (folder / group / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / group / path).write_text(text, encoding="utf-8")


def archived(folder, group, contents):
    (folder / "tabular").mkdir(exist_ok=True)
    with tarfile.open(folder / "tabular" / f"{group}.tar.xz", "w:xz") as tar:
        for path, text in contents.items():
            member = tarfile.TarInfo(f"{group}/{path}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


@pytest.mark.parametrize("put", [extracted, archived])
def test_names_stay_strings_and_numbers_are_numbers(tmp_path, put):
    put(tmp_path, "arff", files("parts", PARTS, nominal=["kind"]))
    (table,) = real_tables.load(tmp_path, "arff")
    assert (table.name, table.group, table.task, table.nominal) == ("parts", "arff", "classification", ("kind",))
    assert table.frame["size"].dtype == np.float64
    np.testing.assert_array_equal(table.frame["size"], [1.5, np.nan, 2.0])
    assert table.frame["kind"][:2].tolist() == ["NA", "b"]
    assert table.frame["kind"].isna().tolist() == [False, False, True]
    assert table.target.tolist() == ["yes", "no", "yes"]
    assert table.frame.columns.tolist() == ["size", "kind"]


def test_nothing_is_written_where_the_collection_lies(tmp_path):
    archived(tmp_path, "arff", files("parts", PARTS, nominal=["kind"]))
    list(real_tables.load(tmp_path, "arff"))
    assert [path.name for path in tmp_path.rglob("*")] == ["tabular", "arff.tar.xz"]


def test_a_codes_digits_are_kept_as_they_are_written(tmp_path):
    extracted(tmp_path, "arff", files("codes", "code,target\n007,1\n7,0\n", nominal=["code"]))
    (table,) = real_tables.load(tmp_path, "arff")
    assert table.frame["code"].tolist() == ["007", "7"]


def test_a_regressions_target_is_numbers(tmp_path):
    extracted(tmp_path, "pmlb", files("1_x", "a,target\n1,0.5\n2,1e3\n", task="regression"))
    (table,) = real_tables.load(tmp_path, "pmlb")
    assert table.target.tolist() == [0.5, 1000.0]


@pytest.mark.parametrize(
    ("targets", "task"),
    [("0 1 2 0", "classification"), ("a b a b", "classification"), ("0.5 1 2 3", "regression")],
)
def test_a_task_that_is_not_told_is_read_from_the_target(tmp_path, targets, task):
    rows = "".join(f"{at},{value}\n" for at, value in enumerate(targets.split()))
    extracted(tmp_path, "pmlb", files("x", f"a,target\n{rows}", task="unknown"))
    assert next(real_tables.load(tmp_path, "pmlb")).task == task


def test_a_number_of_many_values_is_no_class(tmp_path):
    rows = "".join(f"{at},{at}\n" for at in range(21))
    extracted(tmp_path, "pmlb", files("x", f"a,target\n{rows}", task="unknown"))
    assert next(real_tables.load(tmp_path, "pmlb")).task == "regression"


@pytest.mark.parametrize(
    ("name", "cc18"),
    [
        ("german", "credit-g"),
        ("credit_g", "credit-g"),
        ("37_Diabetes", "diabetes"),
        ("pima", "diabetes"),
        ("breast_w", "breast-w"),
        ("breast_cancer_wisconsin", "wdbc"),
        ("tic_tac_toe", "tic-tac-toe"),
        ("23_cmc", "cmc"),
        ("australian", "credit-approval"),
        ("cylinder.bands", "cylinder-bands"),
    ],
)
def test_a_set_of_cc18_is_known_by_its_other_names_and_in_no_half(name, cc18):
    assert real_tables.source(name) == real_tables.source(cc18)
    assert real_tables.half(name) is None


def test_every_set_of_cc18_is_its_own_source():
    assert len({real_tables.source(name) for name in CC18}) == 30
    assert all(real_tables.half(name) is None for name in CC18)


def test_no_name_is_in_two_sources():
    sources = [{*map(real_tables.normalised, (one, *others))} for one, others in real_tables._ALSO_CALLED.items()]
    names = [name for source in sources for name in source]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cars", "cars1"),
        ("vote", "house_votes_84"),
        ("197_cpu_act", "573_cpu_act"),
        ("satimage", "294_satellite_image"),
    ],
)
def test_the_same_data_are_in_the_same_half(one, other):
    assert real_tables.half(one) == real_tables.half(other) is not None


def test_the_halves_are_halves_and_do_not_move():
    halves = [real_tables.half(f"table {at}") for at in range(400)]
    assert 160 < halves.count("validation") < 240
    assert halves.count("validation") + halves.count("report") == 400
    assert [real_tables.half(name) for name in ("iris", "tae")] == ["report", "report"]
    assert [real_tables.half(name) for name in ("sonar", "churn")] == ["validation", "validation"]


def test_a_table_seen_in_another_group_says_where(tmp_path):
    table = "a,target\n1,x\n2,y\n"
    extracted(tmp_path, "pmlb", files("vowel", table) | files("diabetes", table) | files("iris", table))
    names = ("vowel", "tic-tac-toe", "pima", "zoo", "vowel (2)")
    extracted(tmp_path, "arff", {path: text for name in names for path, text in files(name, table).items()})
    assert {table.name: table.seen_as for table in real_tables.load(tmp_path, "arff")} == {
        "pima": "diabetes",
        "tic-tac-toe": "tic-tac-toe",
        "vowel": "vowel",
        "vowel (2)": "vowel",
        "zoo": "",
    }
    assert {table.name: table.seen_as for table in real_tables.load(tmp_path, "pmlb")} == {
        "diabetes": "diabetes",
        "iris": "",
        "vowel": "",
    }


def test_a_set_of_cc18_was_not_seen_as_itself(tmp_path):
    extracted(tmp_path, "cc18", files("diabetes", "a,target\n1,x\n2,y\n"))
    assert next(real_tables.load(tmp_path, "cc18")).seen_as == ""


def test_the_same_data_under_another_name_are_found_by_their_counts():
    def table(name, targets, columns=2):
        frame = pd.DataFrame(np.zeros((len(targets), columns)))
        return RealTable(name, "pmlb", "classification", frame, np.array(targets), ())

    one = table("one", ["a", "a", "b"])
    renamed = table("renamed", ["1", "0", "0"])
    others = [
        table("balanced", ["a", "b", "c"]),
        table("wider", ["a", "a", "b"], 3),
        table("longer", ["a", "a", "b", "b"]),
    ]
    assert real_tables.same_contents([one, *others, renamed]) == [(one, renamed)]


@pytest.mark.parametrize(
    ("group", "contents", "told"),
    [
        ("openml", {}, "no group 'openml'; there are cc18, pmlb, arff"),
        ("pmlb", {}, "holds neither tabular/pmlb.tar.xz nor pmlb/"),
        ("arff", {"x/data.csv": "a,target\n1,2\n"}, "lacks x/meta.json"),
        ("arff", files("x", "a,b\n1,2\n"), "lacks the column 'target'"),
        ("arff", files("x", "a,target\n1,2\n", nominal=["b"]), "lacks the column 'b'"),
        ("arff", files("x", "a,target\none,2\n"), "text where it should have numbers"),
        ("arff", files("x", "a,target\n1,two\n", task="regression"), "text where it should have numbers"),
    ],
)
def test_what_is_not_a_collection_is_refused_in_a_sentence(tmp_path, group, contents, told):
    extracted(tmp_path, "arff", contents or files("x", "a,target\n1,2\n"))
    with pytest.raises(DataError, match=told):
        list(real_tables.load(tmp_path, group))
