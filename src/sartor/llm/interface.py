"""What is asked of a large model, and what comes back."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args

Purpose: TypeAlias = Literal["answer", "calibrate", "design", "teach", "explain", "canary"]
"""Why something is sent: to answer a row, to learn when to ask, to read a task, to label rows, to explain, to check
that the vendor's model is the same."""
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(frozen=True, slots=True)
class Request:
    """One question."""

    text: str
    """What the user gave: the only part that is searched for personal data, and masked."""
    system: str = ""
    """Our own words: what is to be done with the text."""
    purpose: Purpose = "answer"
    schema: Mapping[str, Any] | None = None
    """JSON Schema that the answer must keep to; None takes any text."""
    max_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    quoted: bool = False
    """Whether the text goes as the value of a JSON object, so that it cannot be taken for an order."""

    @property
    def wire_text(self) -> str:
        """Return the text as it is sent."""
        return json.dumps({"text": self.text}, ensure_ascii=False) if self.quoted else self.text

    @property
    def wire_bytes(self) -> int:
        """Return how many bytes of content a call sends: both texts and the schema, in UTF-8."""
        schema = "" if self.schema is None else json.dumps(self.schema, ensure_ascii=False)
        return sum(len(part.encode(errors="surrogatepass")) for part in (self.system, self.wire_text, schema))

    @property
    def key(self) -> str:
        """Return the sha256 of all that the answer depends on."""
        parts = [self.system, self.wire_text, self.schema, self.max_tokens, self.temperature, self.seed]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, and what it cost."""

    text: str
    model: str
    """What the endpoint calls itself: a change of it is a change of the model."""
    tokens_out: int
    """Sent, as the endpoint counts them; estimated where it does not."""
    tokens_in: int
    """Received."""
    latency_s: float
    bytes_out: int = 0
    """That left this machine; 0 of a model that is no egress, and of an answer from the cache."""
    bytes_in: int = 0
    cost: float = 0.0
    """In the currency of the policy's prices; 0 where none are given."""
    redactions: Mapping[str, int] = field(default_factory=dict[str, int])
    """Kind of personal data -> how many were masked before the text was sent."""
    cached: bool = False
    counted: bool = True
    """Whether the endpoint counted the tokens itself."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """A request that passed the audit and has its row in the ledger. Only :mod:`sartor.llm.audit` makes one."""

    request: Request
    """With the text as it may be sent."""
    row: int
    """Number of its row."""


class Backend(Protocol):
    """Something that answers what the audit has cleared; one call, no retries."""

    @property
    def model(self) -> str:
        """Return the name of the model that is asked for."""
        ...

    @property
    def destination(self) -> str:
        """Return where texts go: an address, ``in-process`` or ``scripted``."""
        ...

    @property
    def egress(self) -> bool:
        """Return whether texts leave this process."""
        ...

    def send(self, cleared: Cleared) -> Reply:
        """Return the answer to one request.

        Raises:
            LargeModelError: when there is none.
        """
        ...

    def close(self) -> None:
        """End what it holds open; the next request opens it again."""
        ...


class LargeModel(Protocol):
    """What everybody but the audit sees of a large model."""

    @property
    def model(self) -> str:
        """Return the name of the model that is asked for."""
        ...

    @property
    def destination(self) -> str:
        """Return where texts go: an address, ``in-process`` or ``scripted``."""
        ...

    @property
    def egress(self) -> bool:
        """Return whether texts leave this process."""
        ...

    def permit(self, purpose: Purpose) -> None:
        """Do nothing if texts may be sent for this purpose at all; what a text holds may still forbid it.

        Raises:
            EgressRefused: when the policy does not allow it.
        """
        ...

    def ask(self, request: Request) -> Reply:
        """Return the answer to one request.

        Raises:
            EgressRefused: when the policy does not let it go.
            LargeModelError: when there is no answer.
            StorageError: when the ledger takes no row; then nothing was sent.
        """
        ...

    def close(self) -> None:
        """End what it holds open; the next request opens it again."""
        ...
