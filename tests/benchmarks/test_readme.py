from benchmarks import readme


def test_the_readme_says_what_the_results_say():
    for place, tables in (("README.md", readme.sections()), ("benchmarks/README.md", readme.heads())):
        page = (readme.ROOT / place).read_text(encoding="utf-8")
        assert readme.filled(page, tables) == page, "the results have changed: python -m benchmarks.readme"


def test_ties_and_losses_are_marked():
    assert readme.gap((0.02, 0.01, 0.03)) == "+2.0 [+1.0, +3.0]"
    assert readme.gap((0.01, -0.01, 0.03)) == "+1.0 [-1.0, +3.0] (tie)"
    assert readme.gap((-0.02, -0.03, -0.01)) == "-2.0 [-3.0, -1.0] (worse)"


def test_what_lies_outside_the_markers_stays():
    page = f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow"
    assert readme.filled(page, "tables\n") == f"above\n{readme.BEGIN}\ntables\n{readme.END}\nbelow"
