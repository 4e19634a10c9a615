"""What a user calls a large model by -> the model, behind the audit.

https://host/v1          an endpoint; https://host/v1#MODEL names the model there, else SARTOR_LLM_MODEL does
local:smollm2-135m-instruct    a model in this process; local:/path/to/file.gguf too
scripted:accuracy=0.95   answers from gold labels, for tests and for figures about routing
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sartor.assets import resolve
from sartor.errors import NotFoundError, UserError
from sartor.llm import scripted
from sartor.llm.audit import Audited
from sartor.llm.endpoint import Endpoint
from sartor.llm.interface import Backend
from sartor.llm.ledger import FILE, Ledger
from sartor.llm.local import Local
from sartor.llm.patient import Patience, Patient
from sartor.llm.policy import Policy
from sartor.settings import Settings

_DEFAULT_MODEL = "default"
"""Asked for where nobody named a model: a server of one model takes any name."""


def connect(
    spec: str,
    policy: Policy,
    settings: Settings,
    *,
    gold: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    patience: Patience | None = None,
    timeout_s: float = 30.0,
) -> Patient:
    """Return the large model that ``spec`` names. Nothing is connected to before it is asked.

    Args:
        spec: see the module.
        policy: what may leave.
        settings: where the ledger lies; key and model.
        gold: text -> right answer, which a scripted model answers from.
        labels: what a scripted model may answer wrongly.
        patience: of retries.
        timeout_s: of one call.

    Raises:
        UserError: when ``spec`` is not understood.
    """
    policy = replace(policy, offline=policy.offline or settings.offline)
    backend = _backend(spec, settings, gold or {}, labels, timeout_s)
    return Patient(Audited(backend, policy, ledger(settings)), patience)


def ledger(settings: Settings) -> Ledger:
    """Return the ledger of a store."""
    return Ledger(settings.home / FILE)


def _backend(
    spec: str, settings: Settings, gold: Mapping[str, str], labels: Sequence[str], timeout_s: float
) -> Backend:
    kind, _, rest = spec.partition(":")
    match kind.lower():
        case "scripted":
            return scripted.Scripted(scripted.parse(rest), gold, labels)
        case "local":
            return _local(rest, settings)
        case "http" | "https":
            url, _, model = spec.partition("#")
            return Endpoint(
                url,
                model or settings.llm_model or _DEFAULT_MODEL,
                settings.llm_key or _from_keyring(url),
                timeout_s=timeout_s,
            )
        case _:
            raise UserError(
                f"{spec[:80]!r} names no large model. Known: an address as https://host/v1, local:NAME (in this "
                "process), scripted:accuracy=0.95 (answers from the gold labels)."
            )


def _local(name: str, settings: Settings) -> Local:
    if name.endswith(".gguf"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise NotFoundError(f"There is no file {name[:200]!r}.")
        return Local(path, path.name)
    return Local(resolve.resolve_gguf(name, settings), name)


def _from_keyring(url: str) -> str:
    """Return the key that the system keeps for an endpoint; "" where there is no keyring, or nothing in it."""
    try:
        import keyring  # pyright: ignore[reportMissingImports]

        return keyring.get_password("sartor", url.rstrip("/")) or ""
    except Exception:  # no package, no keyring on this system, or a locked one: then there is no key
        return ""
