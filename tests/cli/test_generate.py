import json

from sartor import cli


def test_generate_prints_one_json_object_with_what_the_contract_names(tiny, mails_csv, tmp_path, capsys):
    out = tmp_path / "model"
    code = cli.run(
        ["generate", "Route mails to billing, bug or other", "--examples", str(mails_csv), "--out", str(out), "--json"]
    )
    made = json.loads(capsys.readouterr().out)
    assert code == 0
    assert {"id", "path", "family", "base", "head", "seconds", "n_parameters", "report"} <= made.keys()
    assert set(made["seconds"]) == {"load", "encode", "generate", "evaluate"}
    assert made["path"] == str(out)
