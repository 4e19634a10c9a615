"""policy.yaml -> Policy: what may leave this machine, to whom, for what, how much of it.

Whatever is not allowed is refused: no file, no egress; a kind of personal data that is not named, blocked. Keys::

    egress: true
    destinations: [https://llm.example.com/v1]
    purposes: [answer, calibrate]
    personal_data: {default: block, email: mask, ip: allow}
    unrecognised: allow
    limits: {max_share: 0.2, max_bytes_per_1k: 200000, max_cost_per_day: 1.5}
    prices: {some-model: {input: 0.5, output: 1.5}}
    retain: false
"""

import contextlib
import ipaddress
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import yaml
from typing_extensions import override

from sartor.errors import EgressRefused, PolicyError, did_you_mean
from sartor.llm.interface import PURPOSES, Purpose
from sartor.llm.privacy import KINDS

Action: TypeAlias = Literal["block", "mask", "allow"]
ACTIONS: tuple[Action, ...] = ("block", "mask", "allow")
_USUAL: tuple[Purpose, ...] = ("answer", "calibrate", "canary")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens cost."""

    input: float
    output: float

    def of(self, tokens_out: int, tokens_in: int) -> float:
        """Return what a call costs that sends ``tokens_out`` and receives ``tokens_in``."""
        return (tokens_out * self.input + tokens_in * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class Policy:
    """What may leave. The default lets nothing leave."""

    egress: bool = False
    destinations: tuple[str, ...] = ()
    """Base addresses, each with all paths below it."""
    purposes: tuple[Purpose, ...] = _USUAL
    personal_data: Mapping[str, Action] = field(default_factory=lambda: MappingProxyType(dict[str, Action]()))
    """Kind -> what is done with a text that has one; see :meth:`action`."""
    default_action: Action = "block"
    """Of kinds that are not named."""
    unrecognised: Action = "allow"
    """Of words that may be a name though no list knows them: ``block`` fails closed, ``mask`` masks them."""
    max_share: float | None = None
    """Of requests that may be escalated, 0..1."""
    max_bytes_per_1k: float | None = None
    """Bytes of content that may leave for a thousand requests."""
    max_cost_per_day: float | None = None
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType(dict[str, Price]()))
    """Model -> price; the currency is yours."""
    retain: bool = False
    """Whether what was sent and answered is kept beside the ledger, to learn from."""
    source: str = ""
    """The file's name, for messages."""
    offline: bool = False
    """Whether only this machine may be reached, whatever else is allowed."""

    def action(self, kind: str) -> Action:
        """Return what is done with a text that holds this kind of personal data."""
        if kind == "unrecognised":
            return self.unrecognised
        return self.personal_data.get(kind, self.default_action)

    def price(self, model: str) -> Price | None:
        """Return the price of a model, None where nobody told it."""
        return self.prices.get(model) or self.prices.get("*")

    def check(self, destination: str, purpose: Purpose, model: str) -> None:
        """Refuse what may not be sent, whatever it holds.

        Raises:
            EgressRefused: when nothing may leave, or not to there, or not for that.
        """
        if self.offline and not _is_here(destination):
            raise EgressRefused(f"Nothing was sent to {destination}: Sartor is set to be offline.", "no-egress")
        where = f"the policy {self.source!r}" if self.source else "no policy"
        if not self.egress:
            said = f"{where} says egress: false" if self.source else "there is no policy that allows it"
            raise EgressRefused(
                f"Nothing was sent to {destination}: {said}. Write a policy file with egress: true and this "
                "destination, and name it by --policy or SARTOR_POLICY.",
                "no-egress",
            )
        if not any(_covers(allowed, destination) for allowed in self.destinations):
            known = ", ".join(self.destinations) or "none"
            raise EgressRefused(
                f"Nothing was sent to {destination}: {where} does not list it. Allowed destinations: {known}.",
                "destination",
            )
        if purpose not in self.purposes:
            raise EgressRefused(
                f"Nothing was sent to {destination}: {where} does not allow the purpose {purpose!r}. Allowed: "
                f"{', '.join(self.purposes) or 'none'}.",
                "purpose",
            )
        if self.max_cost_per_day is not None and self.price(model) is None:
            raise EgressRefused(
                f"Nothing was sent to {destination}: {where} limits the cost, but has no price of {model!r}. Add it "
                "to prices (input and output of a million tokens).",
                "budget",
            )


def read(path: Path) -> Policy:
    """Return the policy in a file; one that lets nothing leave where there is no such file.

    Raises:
        PolicyError: when it cannot be read, or says what is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Policy()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PolicyError(
            f"The policy {str(path)!r} cannot be read: {reason}. Nothing may leave until it can."
        ) from error
    return parse(text, path.name)


def parse(text: str, name: str) -> Policy:
    """Return the policy that ``text`` says.

    Raises:
        PolicyError: when it says what is not understood; half a policy is none.
    """
    try:
        content = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it is no valid YAML"
        raise PolicyError(f"{name}{line}: {problem}. Nothing may leave until this is mended.") from error
    return _Reader(name).policy(content)


class _Loader(yaml.SafeLoader):
    """Sees a key that is there twice."""

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if str(key) in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is there twice", key_node.start_mark)
            seen.add(str(key))
        return super().construct_mapping(node, deep)


class _Reader:
    """Turns plain YAML values into a policy, or says which one is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name

    def policy(self, content: Any) -> Policy:
        if content is None:
            return Policy(source=self.name)
        takes = ("egress", "destinations", "purposes", "personal_data", "unrecognised", "limits", "prices", "retain")
        given = self.mapping(content, "the policy", takes)
        limits = self.mapping(given.get("limits"), "'limits'", ("max_share", "max_bytes_per_1k", "max_cost_per_day"))
        actions = self.mapping(given.get("personal_data"), "'personal_data'", ("default", *KINDS))
        found: dict[str, Action] = {key: self.action(value, f"personal_data.{key}") for key, value in actions.items()}
        default = found.pop("default", Policy().default_action)
        share = self.number(limits.get("max_share"), "limits.max_share")
        if share is not None and share > 1:
            raise self.wrong("limits.max_share", "a share between 0 and 1", share)
        return Policy(
            egress=self.truth(given.get("egress"), "egress"),
            destinations=tuple(self.address(url) for url in self.texts(given.get("destinations"), "destinations")),
            purposes=self.purposes(given.get("purposes")),
            personal_data=MappingProxyType(found),
            default_action=default,
            unrecognised=self.action(given.get("unrecognised", "allow"), "unrecognised"),
            max_share=share,
            max_bytes_per_1k=self.number(limits.get("max_bytes_per_1k"), "limits.max_bytes_per_1k"),
            max_cost_per_day=self.number(limits.get("max_cost_per_day"), "limits.max_cost_per_day"),
            prices=MappingProxyType(self.prices(given.get("prices"))),
            retain=self.truth(given.get("retain"), "retain"),
            source=self.name,
        )

    def wrong(self, key: str, wanted: str, got: Any) -> PolicyError:
        return PolicyError(
            f"{self.name}: {key!r} must be {wanted}; got {str(got)[:60]!r}. Nothing may leave until this is mended."
        )

    def mapping(self, value: Any, what: str, known: Sequence[str]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise PolicyError(f"{self.name}: {what} must be keys and values; got {str(value)[:60]!r}.")
        for key in value:
            if known and key not in known:
                raise PolicyError(
                    f"{self.name}: there is no key {str(key)[:60]!r} in {what}.{did_you_mean(str(key), known)} "
                    f"Known keys: {', '.join(known)}. Nothing may leave until this is mended."
                )
        return {str(key): item for key, item in value.items()}

    def truth(self, value: Any, key: str) -> bool:
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", value)
        return value

    def texts(self, value: Any, key: str) -> list[str]:
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts", value)
        return value

    def number(self, value: Any, key: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise self.wrong(key, "a number from 0 up", value)
        return float(value)

    def action(self, value: Any, key: str) -> Action:
        if not isinstance(value, str) or value not in ACTIONS:
            raise self.wrong(key, "block, mask or allow", value)
        return cast(Action, value)

    def purposes(self, value: Any) -> tuple[Purpose, ...]:
        if value is None:
            return _USUAL
        for purpose in self.texts(value, "purposes"):
            if purpose not in PURPOSES:
                raise PolicyError(
                    f"{self.name}: there is no purpose {purpose[:60]!r}.{did_you_mean(purpose, PURPOSES)} Known: "
                    f"{', '.join(PURPOSES)}."
                )
        return tuple(value)

    def address(self, url: str) -> str:
        try:
            return normal(url)
        except ValueError:
            raise self.wrong("destinations", "addresses as https://host/v1", url) from None

    def prices(self, value: Any) -> dict[str, Price]:
        prices: dict[str, Price] = {}
        for model, price in self.mapping(value, "'prices'", ()).items():
            parts = self.mapping(price, f"'prices.{model}'", ("input", "output"))
            found = [self.number(parts.get(part), f"prices.{model}.{part}") for part in ("input", "output")]
            if found[0] is None or found[1] is None:
                raise PolicyError(f"{self.name}: 'prices.{model}' must give both input and output.")
            prices[model] = Price(found[0], found[1])
        return prices


def normal(url: str) -> str:
    """Return an address in one spelling: lower-case host, its port, no slash at the end; no user, query or fragment.

    >>> normal("HTTP://LocalHost:11434/v1/"), normal("https://llm.example.com")
    ('http://localhost:11434/v1', 'https://llm.example.com:443')

    Raises:
        ValueError: when it is no address of HTTP.
    """
    parts = urlsplit(url.strip())
    if parts.scheme.lower() not in _PORTS or not parts.hostname or parts.username or parts.query:
        raise ValueError(url)
    if any(part in (".", "..") for part in parts.path.split("/")):
        raise ValueError(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    scheme = parts.scheme.lower()
    return f"{scheme}://{host}:{parts.port or _PORTS[scheme]}{parts.path.rstrip('/')}"


def _is_here(destination: str) -> bool:
    host = urlsplit(destination).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _covers(allowed: str, destination: str) -> bool:
    try:
        allowed, destination = normal(allowed), normal(destination)
    except ValueError:
        return False
    return destination == allowed or destination.startswith(f"{allowed}/")
