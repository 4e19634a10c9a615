"""The monitor over the journal of a real server: it meets the server in the journal alone."""

import asyncio

import numpy as np
from serve_helpers import PART, ask, serving

from sartor.journal import FILE, Reader
from sartor.monitor.signals import Budget
from sartor.monitor.watch import Options, watch

OPTIONS = Options(reference=100, budget=Budget(false_alarms=5.0, warnings=20.0, windows=(40,)))
WORDS = "my card was charged twice the app shows a broken screen hello invoice refund error question thanks".split()


def texts(many, seed, words=WORDS):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, 6)) for _ in range(many)]


def test_what_the_server_writes_is_what_the_monitor_reads(shop):
    async def asked(*batches, model="mails@champion"):
        async with serving(shop.home) as client:
            return [(await ask(client, model, batch)).json()["results"] for batch in batches]

    results = asyncio.run(asked(texts(60, 1), texts(60, 2), texts(60, 3)))
    usual = watch("mails", shop.home, OPTIONS)
    assert (usual.reference, usual.seen) == (100, 80)
    # how long an answer takes is the machine's affair
    assert all(line.level == "ok" for line in usual.lines if line.signal != "latency")
    assert {"input-mmd", "input-length", "output-labels", "expected-accuracy", "latency"} <= {
        line.signal for line in usual.lines
    }
    assert Reader(shop.home / FILE).answer(results[0][0]["answer_id"]).text is None
    asyncio.run(asked(texts(80, 4, ["エラー", "画面", "請求", "返金", "こんにちは", "質問"])))
    found = watch("mails", shop.home, OPTIONS)
    assert (found.level, found.seen) == ("alert", 160)
    assert any(line.signal.startswith("input-") and line.level == "alert" for line in found.lines)

    asyncio.run(asked([PART] * 60, [PART] * 60, model="parts@champion"))
    assert any("Columns are not watched" in note for note in watch("parts", shop.home, OPTIONS).notes)
