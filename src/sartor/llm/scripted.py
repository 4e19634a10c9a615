"""A large model that is none: it answers from gold labels, as well, as slowly and as unreliably as it is told.

For tests, and for figures about routing; never for a claim about quality. What it does with a text depends on the seed
and the text alone, so a run can be repeated in any order.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from sartor.errors import LargeModelError, UserError, did_you_mean
from sartor.llm import tokens
from sartor.llm.interface import Cleared, Reply


@dataclass(frozen=True, slots=True)
class Script:
    """How it behaves."""

    accuracy: float = 0.95
    """Share of texts that it answers rightly."""
    latency: float = 0.0
    """Seconds a call takes."""
    failures: float = 0.0
    """Share of calls that end in an error of the server."""
    seed: int = 0


def parse(text: str) -> Script:
    """Return what ``accuracy=0.95,latency=0.1`` says.

    Raises:
        UserError: when it is not understood.
    """
    found: dict[str, float] = {}
    known = [field.name for field in fields(Script)]
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in known:
            raise UserError(
                f"A scripted model has no {name[:40]!r}.{did_you_mean(name, known)} Known: {', '.join(known)}; as in "
                "scripted:accuracy=0.95,seed=1."
            )
        try:
            found[name] = float(value)
        except ValueError:
            raise UserError(f"{name!r} of a scripted model must be a number; got {value[:40]!r}.") from None
    script = Script(**{**found, "seed": int(found.get("seed", 0))})  # pyright: ignore[reportArgumentType]
    if not (0 <= script.accuracy <= 1 and 0 <= script.failures <= 1 and 0 <= script.latency <= 3600):
        raise UserError("accuracy and failures of a scripted model are shares between 0 and 1, latency is in seconds.")
    return script


class Scripted:
    """Answers from ``gold``: text -> right answer. Of other texts it knows nothing, and guesses."""

    egress = False
    destination = "scripted"

    def __init__(
        self,
        script: Script,
        gold: Mapping[str, str],
        answers: Sequence[str] = (),
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._script = script
        self._gold = dict(gold)
        self._answers = sorted(set(answers) | set(gold.values()))
        self._sleep = sleep
        self._calls = 0

    @property
    def model(self) -> str:
        """Return how it was told to behave."""
        return f"scripted:accuracy={self._script.accuracy:g},seed={self._script.seed}"

    def send(self, cleared: Cleared) -> Reply:
        """Return the answer to one request; see :class:`sartor.llm.interface.Backend`."""
        request, script = cleared.request, self._script
        if script.latency:
            self._sleep(script.latency)
        self._calls += 1
        if self._chance("fails", f"{self._calls}{request.text}") < script.failures:
            raise LargeModelError("The scripted model failed, as it was told to.", "server-error")
        answer = self._answer(request.text)
        text = json.dumps({"label": answer}, ensure_ascii=False) if request.schema is not None else answer
        sent = tokens.estimate(request.system + request.text)
        return Reply(text, self.model, sent, tokens.estimate(text), script.latency, counted=False)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _answer(self, text: str) -> str:
        right = self._gold.get(text)
        others = [answer for answer in self._answers if answer != right]
        if right is not None and (not others or self._chance("right", text) < self._script.accuracy):
            return right
        return others[int(self._chance("which", text) * len(others))] if others else ""

    def _chance(self, what: str, text: str) -> float:
        """Return a number in 0..1 that the seed and the text settle."""
        drawn = hashlib.sha256(f"{self._script.seed}/{what}/{text}".encode(errors="surrogatepass")).digest()
        return int.from_bytes(drawn[:7]) / 2.0**56
