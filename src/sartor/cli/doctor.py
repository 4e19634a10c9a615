"""``sartor doctor``: is this machine ready, and if not, what to do."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from sartor.cli import console

_LEAST_FREE_GB = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    found: str
    advice: str = ""


@click.command()
@console.common
def doctor(seed: int, as_json: bool) -> None:
    """Check this machine: versions, store, bases, space. Reads only; nothing is fetched."""
    found = list(findings())
    healthy = all(finding.ok for finding in found)
    if as_json:
        console.print_json({"healthy": healthy, "findings": [asdict(finding) for finding in found]})
    else:
        for finding in found:
            mark = click.style("ok", fg="green") if finding.ok else click.style("!!", fg="red", bold=True)
            console.say(f"{mark}  {finding.check}: {finding.found}")
            if finding.advice:
                console.say(f"      {finding.advice}")
        console.say("All is well." if healthy else "Something needs care: see the lines marked '!!'.")


def findings() -> Iterator[Finding]:
    """Look at what Sartor needs, one thing after the other."""
    from sartor import settings

    current = settings.current()
    yield Finding("python", ok=True, found=platform.python_version())
    yield _torch()
    yield Finding("cpu", ok=True, found=f"{os.cpu_count()} cores, {platform.machine()}")
    yield _space(str(current.cache))
    yield _store()
    yield from _bases()
    offline = "no connection is opened (SARTOR_OFFLINE)" if current.offline else "bases may be fetched when needed"
    yield Finding("network", ok=True, found=offline)


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", ok=False, found=str(error), advice="Install it: make install")
    gpu = "CUDA" if torch.cuda.is_available() else "CPU only"
    return Finding("torch", ok=True, found=f"{torch.__version__}, {gpu}, {torch.get_num_threads()} threads")


def _space(folder: str) -> Finding:
    folder = _existing(folder)
    free = shutil.disk_usage(folder).free / 1e9
    advice = "" if free >= _LEAST_FREE_GB else "A base takes up to 0.4 GB: free some space, or move SARTOR_CACHE."
    return Finding("disk", ok=not advice, found=f"{free:.1f} GB free at {folder}", advice=advice)


def _store() -> Finding:
    from sartor import settings
    from sartor.errors import SartorError
    from sartor.registry.store import Store

    home = settings.current().home
    try:
        store = Store(home)
        entries, events = store.list(), store.verify_chain()
    except SartorError as error:
        return Finding("store", ok=False, found=str(home), advice=str(error))
    writable = os.access(_existing(str(home)), os.W_OK)
    advice = "" if writable else "It cannot be written: set SARTOR_HOME to a folder of yours."
    return Finding(
        "store", ok=writable, found=f"{home}: {len(entries)} models, {events} events, log whole", advice=advice
    )


def _existing(folder: str) -> str:
    """Return ``folder``, or the nearest one above it that is there."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _bases() -> Iterator[Finding]:
    from sartor import settings
    from sartor.assets import catalogue, resolve
    from sartor.errors import SartorError

    current = settings.current()
    for spec in catalogue.every():
        name = spec.name
        try:
            found = resolve.is_cached(spec, current)
        except SartorError as error:
            yield Finding(f"base {name}", ok=False, found="damaged", advice=str(error))
            continue
        if found:
            yield Finding(f"base {name}", ok=True, found=f"in the cache ({spec.licence}; {spec.title})")
        else:
            ok = not current.offline
            advice = "" if ok else "It cannot be fetched while SARTOR_OFFLINE is set."
            yield Finding(f"base {name}", ok=ok, found="not here yet; fetched when first needed", advice=advice)
