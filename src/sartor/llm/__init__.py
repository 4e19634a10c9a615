"""The large model: asked within a budget, never silently, and never with what may not leave.

    Request -> Patient (retries, breaker, cache) -> Audited (policy, redaction, ledger row) -> a backend -> Reply

A backend is an endpoint over HTTP, a model in this process, or a script. It takes only what the audit has cleared, so
there is no way around the ledger. :func:`connect` puts the parts together.
"""

from sartor.llm.connect import connect as connect
from sartor.llm.interface import LargeModel as LargeModel
from sartor.llm.interface import Reply as Reply
from sartor.llm.interface import Request as Request
