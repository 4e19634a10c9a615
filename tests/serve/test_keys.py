"""Who may ask, and for what."""

import asyncio
import stat

import pytest
from serve_helpers import ask, serving

from sartor.errors import NotFoundError, StorageError, UserError
from sartor.serve import guard, keys, run
from sartor.serve.guard import Buckets, is_loopback


def bearer(text):
    return {"authorization": f"Bearer {text}"}


def test_a_key_is_kept_as_a_hash_and_found_by_its_whole_text(tmp_path):
    text, made = keys.add(tmp_path, ("predict",), note="me")
    path = tmp_path / keys.FILE
    assert text not in path.read_text()
    assert text.rsplit("-", 1)[1][:12] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = {key.id: key for key in keys.read(tmp_path)}
    assert keys.find(known, text) == made
    for wrong in (text[:-1], text[:-1] + "_", text + "x", "", "é", made.hash, text.replace(made.id, "0" * 8)):
        if wrong != text:
            assert keys.find(known, wrong) is None
    keys.revoke(tmp_path, made.id)
    assert keys.find({key.id: key for key in keys.read(tmp_path)}, text) is None


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UserError, match="predict, control"):
        keys.add(tmp_path, ("everything",))
    with pytest.raises(NotFoundError):
        keys.revoke(tmp_path, "12345678")
    (tmp_path / keys.FILE).write_text("no keys")
    with pytest.raises(StorageError, match="holds no keys"):
        keys.read(tmp_path)


def test_scopes_rates_and_revocation_hold(shop, monkeypatch):
    data, _ = keys.add(shop.home, ("predict",))
    control, _ = keys.add(shop.home, ("control",))
    slow, made = keys.add(shop.home, ("predict",), rate=6)
    shop.store.move_alias("mails", "champion", shop.id("mails@v2"), expected=shop.id("mails@v1"))

    async def run_all():
        async with serving(shop.home) as client:

            async def code(method, path, key=None, **more):
                headers = bearer(key) if key else {}
                return (await client.request(method, path, headers=headers, **more)).status_code

            body = {"model": "mails", "inputs": ["x"]}
            back = {"json": {"name": "mails"}}
            found = {
                "none": await code("POST", "/predict", json=body),
                "wrong": await code("POST", "/predict", data[:-2] + "zz", json=body),
                "data": await code("POST", "/predict", data, json=body),
                "control for data": await code("POST", "/predict", control, json=body),
                "data for control": await code("POST", "/control/rollback", data, **back),
                "control": await code("POST", "/control/rollback", control, **back),
                "metrics": await code("GET", "/metrics", control),
                "models": await code("GET", "/v1/models"),
                "health": await code("GET", "/healthz"),
                "slow": await code("POST", "/predict", slow, json=body),
                "slow again": await code("POST", "/predict", slow, json=body),
            }
            keys.revoke(shop.home, made.id)
            await asyncio.sleep(0.6)
            return found, await code("GET", "/v1/models", slow)

    found, revoked = asyncio.run(run_all())
    assert found == {
        "none": 401,
        "wrong": 401,
        "data": 200,
        "control for data": 403,
        "data for control": 403,
        "control": 200,
        "metrics": 200,
        "models": 401,
        "health": 200,
        "slow": 200,
        "slow again": 429,
    }
    assert revoked == 401
    assert shop.id("mails@champion") == shop.id("mails@v1")


def test_keys_that_cannot_be_read_let_nobody_in(shop):
    keys.add(shop.home)

    async def run_all():
        async with serving(shop.home) as client:
            (shop.home / keys.FILE).write_text("[")
            return (await ask(client)).status_code

    assert asyncio.run(run_all()) == 503


def test_an_address_that_others_reach_needs_a_key(shop):
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        assert not is_loopback(host)
        with pytest.raises(UserError, match="no key"):
            run.serve(shop.home, run.Options(host=host, port=0), told=print)
    assert is_loopback("127.0.0.5")
    assert is_loopback("::1")
    with pytest.raises(UserError, match="both files"):
        run.serve(shop.home, run.Options(port=0, certificate=shop.home / "cert.pem"), told=print)
    with pytest.raises(NotFoundError, match="nobody"):
        run.serve(shop.home, run.Options(port=0, models=("nobody@champion",)), told=print)


def test_a_bucket_gives_what_its_rate_says(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    bucket = Buckets()
    assert [bucket.wait("k", 60) == 0 for _ in range(12)] == [True] * 10 + [False] * 2
    assert bucket.wait("k", 60) == pytest.approx(1.0)
    now[0] += 2.0
    assert [bucket.wait("k", 60) == 0 for _ in range(3)] == [True, True, False]
    assert bucket.wait("other", 60) == 0
