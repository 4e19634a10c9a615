import json
from pathlib import Path

from sartor.evaluate.schema import schema_markdown
from sartor.types import Report, from_json, to_json

from .reports import report

PAGE = Path(__file__).parents[2] / "docs" / "report-schema.md"


def test_the_page_is_what_the_types_say():
    assert PAGE.read_text(encoding="utf-8") == schema_markdown(), (
        "write it anew: python -c 'from sartor.evaluate.schema import schema_markdown; "
        'open("docs/report-schema.md", "w", encoding="utf-8").write(schema_markdown())\''
    )


def test_every_field_of_a_report_is_on_the_page():
    page = schema_markdown()
    plain = to_json(report())
    assert from_json(plain, Report) == report()
    for name in [*plain, *plain["scores"], *plain["coverage"][0], *plain["cost"], *plain["baselines"][0]["paired"]]:
        assert f"| `{name}` |" in page


def test_the_page_ends_with_a_json_schema():
    block = schema_markdown().split("```json\n")[1].split("```")[0]
    assert "Report" in json.loads(block)["$defs"]
