"""The environment, read once. Nothing else in Sartor looks at environment variables."""

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

_TRUE = {"1", "true", "yes", "on"}


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are kept and what may be reached."""

    home: Path
    """The store of models (``SARTOR_HOME``)."""
    cache: Path
    """Downloaded and converted bases (``SARTOR_CACHE``); never inside ``home``, safe to delete."""
    offline: bool
    """Never open a connection (``SARTOR_OFFLINE`` or ``HF_HUB_OFFLINE``), but to this machine."""
    alerts: tuple[str, ...] = ()
    """Hosts that alerts may be sent to (``SARTOR_ALERTS``, by commas); none unless told."""
    smtp: str = ""
    """What sends mails (``SARTOR_SMTP``): host:port, or user:password@host:port."""
    policy: Path = Path("policy.yaml")
    """What may leave the machine (``SARTOR_POLICY``); none there means nothing may."""
    llm_model: str = ""
    """Which model to ask for at an endpoint (``SARTOR_LLM_MODEL``)."""
    llm_key: str = field(default="", repr=False)
    """Its key (``SARTOR_LLM_KEY``); "" looks into the system's keyring, where there is one."""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Return the settings that ``environment`` asks for."""

    def folder(variable: str, default: str) -> Path:
        return Path(environment.get(variable) or default).expanduser().absolute()

    def flag(variable: str) -> bool:
        return environment.get(variable, "").strip().lower() in _TRUE

    home = folder("SARTOR_HOME", platformdirs.user_data_dir("sartor"))
    return Settings(
        home=home,
        cache=folder("SARTOR_CACHE", platformdirs.user_cache_dir("sartor")),
        offline=flag("SARTOR_OFFLINE") or flag("HF_HUB_OFFLINE"),
        alerts=tuple(host.strip().lower() for host in environment.get("SARTOR_ALERTS", "").split(",") if host.strip()),
        smtp=environment.get("SARTOR_SMTP", "").strip(),
        policy=folder("SARTOR_POLICY", str(home / "policy.yaml")),
        llm_model=environment.get("SARTOR_LLM_MODEL", "").strip(),
        llm_key=environment.get("SARTOR_LLM_KEY", "").strip(),
    )


@functools.cache
def current() -> Settings:
    """Return the settings of this process."""
    return from_environment(os.environ)
