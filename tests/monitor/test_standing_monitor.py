"""``sartor status`` tells what the monitor found."""

from journals import Stage, generator

from sartor.monitor import memory
from sartor.monitor.signals import Budget
from sartor.monitor.watch import Options, watch
from sartor.standing import stand

OPTIONS = Options(reference=100, budget=Budget(false_alarms=5.0, warnings=20.0, windows=(40,)))


def test_an_alert_is_a_finding(tmp_path):
    stage, rng = Stage(tmp_path / "home"), generator(1)
    entry = stage.put()
    stage.ask(140, entry, rng)
    watch("mails", stage.home, OPTIONS)
    before = stand(stage.home)
    assert not [one for one in before.findings if "what is asked" in one.text]
    stage.ask(80, entry, rng, shift=2.0)
    watch("mails", stage.home, OPTIONS)
    [found] = [one for one in stand(stage.home).findings if one.text == "mails@champion, what is asked: alert."]
    assert (found.name, found.level) == ("mails", "warning")
    assert "sartor review" in found.advice


def test_a_memory_that_is_damaged_is_a_finding(tmp_path):
    stage = Stage(tmp_path / "home")
    stage.put()
    watch("mails", stage.home, OPTIONS)
    (stage.home / memory.FILE).write_bytes(b"no database" * 100)
    assert any("move it away" in finding.text for finding in stand(stage.home).findings)
