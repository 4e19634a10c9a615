"""Everything Sartor raises on purpose.

    SartorError
    ├── UserError              the caller can mend it: exit code 2, no traceback
    │   ├── TaskError          the description or task.yaml
    │   ├── DataError          a file of rows, or the rows in it
    │   ├── NotFoundError      an id, name, alias, family or base that does not exist
    │   ├── BundleError        a stored model that is damaged, foreign or too new
    │   ├── StorageError       no space, no permission, a store in use
    │   ├── AssetError         a pretrained base that cannot be had or is not what it should be
    │   ├── PolicyError        a policy that says what may leave the machine, and cannot be read
    │   └── LargeModelError    a large model that cannot be reached, or whose answer cannot be used
    ├── GateRefused            a limit or a gate said no: exit code 3
    └── EgressRefused          the policy lets nothing like this leave the machine: exit code 3

A message says what was got, what is known, and what to do. Whatever is not in this tree is a bug of ours and
may show its traceback.
"""

import difflib
from collections.abc import Iterable


class SartorError(Exception):
    """Base of every error that Sartor raises on purpose."""

    exit_code = 1


class UserError(SartorError):
    """The caller can mend it; its text is shown as it is, without a traceback."""

    exit_code = 2


class TaskError(UserError):
    """The description, the labels or the task file cannot be used."""


class DataError(UserError):
    """A file of rows, or the rows in it, cannot be used."""


class NotFoundError(UserError):
    """Something was named that does not exist."""


class BundleError(UserError):
    """A stored model is damaged, foreign, or written by a newer Sartor."""


class StorageError(UserError):
    """The disk is full, a folder is read-only, or a store is held by another process."""


class AssetError(UserError):
    """A pretrained base cannot be had, or its bytes are not those we pinned."""


class PolicyError(UserError):
    """A policy cannot be read, or does not say what it must."""


class LargeModelError(UserError):
    """A large model cannot be reached, or its answer cannot be used.

    ``outcome`` is the reason in a word, as ledgers and decisions have it: ``unreachable``, ``timeout``,
    ``rate-limited``, ``server-error``, ``key-rejected``, ``refused``, ``malformed``, ``circuit-open``, ``busy``,
    ``unavailable``.
    """

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.retry_after_s: float | None = None
        """How long the endpoint asks to wait before it is asked again."""
        self.bytes_out = 0
        """That may have left for nothing, all attempts together."""


class EgressRefused(SartorError):
    """The policy does not let this leave the machine; nothing was sent.

    ``outcome`` is the reason in a word: ``no-egress``, ``destination``, ``purpose``, ``personal-data``, ``budget``.
    """

    exit_code = 3

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class GateRefused(SartorError):
    """A limit of the task or a release gate said no; what was made is kept, but nothing was promoted."""

    exit_code = 3


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest known name, or "" if none is near.

    >>> did_you_mean("lables", ["labels", "limits"])
    " Did you mean 'labels'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
