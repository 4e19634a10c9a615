"""A card of the machine that costs were measured on, so that figures of two machines are never taken for one."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sartor.evaluate.cost import machine

_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm")
"""What decides how fast small matrices of float32 and int8 are."""
_VERSIONED = ("sartor", "torch", "numpy", "onnxruntime", "tokenizers")


@dataclass(frozen=True, slots=True)
class MachineCard:
    """Where figures of cost come from."""

    processor: str
    """Its model and number of cores."""
    flags: tuple[str, ...]
    """Instruction sets that matter here."""
    cores: int
    threads: int
    """That an answer may use."""
    memory_mb: float
    """Installed; 0 where it cannot be told."""
    system: str
    load: float
    """Processes that waited for a core in the minute before; above 1 others worked beside us."""
    versions: dict[str, str]


def machine_card(threads: int) -> MachineCard:
    """Return the card of this machine."""
    return MachineCard(
        processor=machine(),
        flags=_flags(),
        cores=os.cpu_count() or 1,
        threads=threads,
        memory_mb=_memory_mb(),
        system=f"{platform.system()} {platform.machine()}",
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
        versions={"python": sys.version.split()[0], **_versions(_VERSIONED)},
    )


def _flags() -> tuple[str, ...]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return ()
    words = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return tuple(flag for flag in _FLAGS if flag in words)


def _memory_mb() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6, 0)
    except (ValueError, OSError, AttributeError):
        return 0.0


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
