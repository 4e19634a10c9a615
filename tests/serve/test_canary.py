"""Canaries: shares, verdicts, and what becomes of a broken one under traffic."""

import asyncio
import itertools

import pytest
import scipy.stats
from serve_helpers import ask, serving, until

from sartor import journal, release
from sartor.errors import BundleError
from sartor.journal import Reader
from sartor.serve import canary
from sartor.serve import engine as engines
from sartor.serve.canary import Arm, Rules

QUICK = Rules(window=20, failure_limit=3, least=10)


def test_about_the_share_of_all_inputs_goes_to_a_canary_and_always_the_same_ones():
    texts = [f"text {at}" for at in range(4000)]
    sent = [canary.chosen("mails", text, 0.1) for text in texts]
    assert 330 < sum(sent) < 470
    assert sent == [canary.chosen("mails", text, 0.1) for text in texts]
    more = [canary.chosen("mails", text, 0.3) for text in texts]
    assert all(wider for narrow, wider in zip(sent, more, strict=True) if narrow)  # a larger share takes none away
    assert sent != [canary.chosen("others", text, 0.1) for text in texts]


@pytest.mark.parametrize(
    ("arm", "champion", "verdict"),
    [
        (Arm(), Arm(), "inconclusive"),
        (Arm(answers=19), Arm(answers=500), "inconclusive"),
        (Arm(answers=20), Arm(answers=5), "inconclusive"),
        (Arm(answers=20, failed=2), Arm(answers=500), "success"),
        (Arm(answers=2, failed=3), Arm(), "fail"),
        (Arm(answers=15, abstained=8), Arm(answers=500, abstained=20), "fail"),
        (Arm(answers=20, abstained=2), Arm(answers=500, abstained=30), "success"),
        (Arm(answers=15, judged=10, wrong=8), Arm(answers=500, judged=100, wrong=10), "fail"),
        (Arm(answers=20, judged=2, wrong=1), Arm(answers=500, judged=100, wrong=10), "success"),
    ],
)
def test_verdicts(arm, champion, verdict):
    found, why = canary.judge(arm, champion, QUICK)
    assert found == verdict
    assert why.endswith(".")


def test_shares_are_compared_by_fishers_exact_test():
    for bad, theirs in itertools.product(range(0, 13, 3), range(0, 31, 6)):
        wanted = scipy.stats.fisher_exact([[bad, 12 - bad], [theirs, 30 - theirs]], alternative="greater").pvalue
        assert canary._fisher(bad, 12, theirs, 30) == pytest.approx(wanted, abs=1e-9)


def test_a_good_canary_gets_its_share_and_becomes_the_champion(shop):
    release.promote(shop.home, "mails@v2", canary=0.4)

    async def run():
        async with serving(shop.home, rules=QUICK) as client:
            found = []
            number = itertools.count()
            while shop.store.canary("mails") is not None:
                answer = await ask(client, inputs=[f"hello {next(number)}" for _ in range(8)])
                found += answer.json()["results"]
            await until(lambda: client.service.follower.routes.live["mails", "champion"].version == 2)
            last = (await ask(client)).json()["results"][0]
            return found, last

    found, last = asyncio.run(run())
    by = {alias: [one["version"] for one in found if one["alias"] == alias] for alias in ("champion", "challenger")}
    assert set(by["challenger"]) == {2}
    assert len(by["challenger"]) >= 20
    assert by["champion"]
    assert (last["version"], last["alias"]) == (2, "champion")
    rows = list(Reader(shop.home / journal.FILE).answers())
    assert [row.answer_id for row in rows[: len(found)]] == [one["answer_id"] for one in found]
    decisions = list(Reader(shop.home / journal.FILE).decisions(kind="canary"))
    assert len(decisions) == len(by["challenger"])
    verdicts = [event.body["verdict"] for event in Reader(shop.home / journal.FILE).events(kind="canary")]
    assert verdicts == ["success"]
    assert shop.store.events()[-2].body["why"]["kind"] == "canary"


def broken(monkeypatch, versions):
    """Let these versions of ``mails`` fail whatever they are asked."""
    before = engines._compute

    def compute(works):
        if any(work.loaded.entry.version in versions and work.loaded.entry.name == "mails" for work in works):
            raise BundleError("it is broken")
        return before(works)

    monkeypatch.setattr(engines, "_compute", compute)


def test_a_broken_canary_is_ended_by_itself_and_no_request_fails(shop, monkeypatch):
    async def run():
        async with serving(shop.home, rules=QUICK) as client:
            await client.service.engine.load(shop.store.get("mails@v2"))
            broken(monkeypatch, {2})
            await asyncio.to_thread(release.promote, shop.home, "mails@v2", canary=0.5)
            loop, codes, numbers = asyncio.get_running_loop(), [], itertools.count()
            begun = loop.time()

            async def traffic():
                while shop.store.canary("mails") is not None:
                    answer = await ask(client, inputs=[f"hello {next(numbers)}"])
                    codes.append((answer.status_code, answer.json()["results"][0]["version"]))

            await asyncio.gather(*(traffic() for _ in range(4)))
            return codes, loop.time() - begun

    codes, spent = asyncio.run(run())
    assert set(codes) == {(200, 1)}
    assert spent < 20
    [event] = list(Reader(shop.home / journal.FILE).events(kind="canary"))
    assert event.body["verdict"] == "fail"
    fallen = [row for row in Reader(shop.home / journal.FILE).decisions(kind="canary") if "failed" in row.reason]
    assert len(fallen) >= 3


def test_a_champion_that_breaks_is_rolled_back_by_itself(shop, monkeypatch):
    release.promote(shop.home, "mails@v2")

    async def run():
        async with serving(shop.home) as client:
            broken(monkeypatch, {2})
            codes = []
            while len(codes) < 500 and (not codes or codes[-1] != 200):
                codes.append((await ask(client)).status_code)
                await asyncio.sleep(0.01)
            other = await ask(client, "tickets")
            return codes, other.status_code

    codes, other = asyncio.run(run())
    assert codes[-1] == other == 200
    assert set(codes[:-1]) == {503}
    assert shop.id("mails@champion") == shop.id("mails@v1")
    why = [event for event in shop.store.events() if event.kind == "alias"][-1].body["why"]
    assert why["kind"] == "rollback"
    assert "it is broken" in why["reasons"][0]


def test_what_is_wrong_with_an_input_is_no_fault_of_a_canary(shop):
    model = "parts@v1"
    from serve_helpers import PART

    from sartor import pipeline

    loaded = pipeline.load_model(model)
    draft = pipeline.of_manifest(pipeline.replace(loaded.manifest, seed=9), loaded.report, loaded.weights)
    second = shop.store.put(draft.manifest, draft.files(), "parts")
    release.promote(shop.home, second.id, canary=0.9)

    async def run():
        async with serving(shop.home, rules=QUICK) as client:
            bad = [await ask(client, "parts", [{"width": str(at)}]) for at in range(10)]
            good = await ask(client, "parts", [{**PART, "width": str(at)} for at in range(10)])
            return [one.status_code for one in bad], good.json()["results"]

    codes, good = asyncio.run(run())
    assert codes == [422] * 10
    assert {one["version"] for one in good} == {1, 2}
    assert shop.store.canary("parts") is not None
