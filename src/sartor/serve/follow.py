"""Aliases as the store has them now: a server sees a move within a second and drops nothing for it.

An alias moves here only once its new model is in memory and warm. Where that cannot be read, the version before goes on
answering, under its own number, and the failure is told; where there is none before, asking is an error.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sartor import release
from sartor.errors import NotFoundError, SartorError, UserError
from sartor.registry.store import Entry, Snapshot, Store
from sartor.release import CHAMPION
from sartor.serve.engine import Engine

POLL_S = 0.2
RETRY_S = 2.0
"""Between attempts to read a model that could not be read."""
_REF = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]{0,63})(@(?P<which>[a-z0-9][a-z0-9._-]{0,63}))?")
_VERSION = re.compile(r"v([0-9]{1,9})")
_ID = re.compile(r"[0-9a-f]{16}")


class NotReady(SartorError):
    """Models are still being read."""


class Unavailable(SartorError):
    """A model is there and cannot answer."""


@dataclass(frozen=True, slots=True)
class Found:
    """The model that a request names."""

    entry: Entry
    alias: str
    """Under which it answers; "" where it was named by id or version."""
    asked: str


@dataclass(frozen=True, slots=True)
class Routes:
    """Who answers for what, at one moment."""

    snapshot: Snapshot
    live: Mapping[tuple[str, str], Entry]
    """(name, alias) -> what answers for it."""
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """(name, alias) -> why what the store has there cannot answer."""
    previous: Mapping[str, str] = field(default_factory=dict[str, str])
    """name -> id that a rollback would go to."""
    only: frozenset[str] | None = None
    """Models that may be asked for; None for all."""

    def find(self, ref: str) -> Found:
        """Return the model that ``ref`` names: ``name@alias``, ``name@v3``, an id, ``name`` (its champion) or ``auto``.

        Raises:
            UserError: when ``ref`` is no such thing.
            NotFoundError: when there is none.
            Unavailable: when it cannot answer.
        """
        if ref == "auto":
            ref = self._only_champion()
        match = _REF.fullmatch(ref)
        if match is None:
            raise UserError(f"{ref[:80]!r} names no model. Give name@champion, name@v3, an id, or auto.")
        name, which = match["name"], match["which"]
        if not self._allowed(ref, name, which):
            raise NotFoundError(f"The model {ref!r} is not served here. GET /v1/models lists those that are.")
        if which is None and _ID.fullmatch(ref) and (entry := self._by_id(ref)) is not None:
            return Found(entry, "", ref)
        version = _VERSION.fullmatch(which or "")
        if version:
            return Found(self._by_version(name, int(version[1])), "", ref)
        return self._by_alias(name, which or CHAMPION, ref)

    def served(self) -> list[tuple[str, str, Entry]]:
        """Return name, alias and model of all aliases that may be asked for."""
        return [
            (name, alias, entry)
            for (name, alias), entry in sorted(self.live.items())
            if self._allowed(f"{name}@{alias}", name, alias)
        ]

    def _allowed(self, ref: str, name: str, which: str | None) -> bool:
        if self.only is None or ref in self.only:
            return True
        return which is None and f"{name}@{CHAMPION}" in self.only

    def _only_champion(self) -> str:
        names = sorted({name for name, alias, _ in self.served() if alias == CHAMPION})
        if len(names) != 1:
            raise UserError(f"'auto' needs exactly one champion; here are {len(names)}. Name one of them.")
        return f"{names[0]}@{CHAMPION}"

    def _by_id(self, model_id: str) -> Entry | None:
        return next((entry for entry in self.snapshot.entries if entry.id == model_id), None)

    def _by_version(self, name: str, version: int) -> Entry:
        for entry in self.snapshot.entries:
            if entry.name == name and entry.version == version:
                return entry
        raise NotFoundError(f"There is no model {name}@v{version}. GET /v1/models lists those that are served.")

    def _by_alias(self, name: str, alias: str, asked: str) -> Found:
        if (entry := self.live.get((name, alias))) is not None:
            return Found(entry, alias, asked)
        if (why := self.broken.get((name, alias))) is not None:
            raise Unavailable(f"{name}@{alias} cannot answer: {why}")
        raise NotFoundError(f"There is no model {asked!r}. GET /v1/models lists those that are served.")


EMPTY = Routes(Snapshot(0, (), {}, {}, {}), {})


class Follower:
    """Follows a store, and keeps an engine ready for what its aliases point at."""

    def __init__(
        self,
        home: Path,
        engine: Engine,
        *,
        only: frozenset[str] | None = None,
        told: Callable[[str, str, Mapping[str, object]], None] = lambda kind, name, body: None,
    ) -> None:
        """Follow nothing yet: :meth:`step` looks once, :meth:`run` for ever.

        Args:
            home: the store's folder.
            engine: that models are read into.
            only: models that may be asked for; None for all.
            told: told of what happens: kind, name, and more.
        """
        self.routes = replace(EMPTY, only=only)
        self.ready = False
        """Whether everything that could be read has been, once."""
        self._store, self._engine, self._told = Store(home), engine, told
        self._retry = 0.0

    async def run(self) -> None:
        """Look again and again, until cancelled; a store that cannot be read now is asked again."""
        while True:
            try:
                await self.step()
            except Exception as error:  # whatever it is, tomorrow's aliases must be followed
                self._told("error", "", {"while": "following the store", "error": f"{type(error).__name__}: {error}"})
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(POLL_S)

    async def step(self) -> bool:
        """Look once; say whether anything changed."""
        loop = asyncio.get_running_loop()
        seq = await asyncio.to_thread(self._store.seq)
        if self.ready and seq == self.routes.snapshot.seq and not (self.routes.broken and loop.time() >= self._retry):
            return False
        snapshot, previous = await asyncio.to_thread(self._look)
        self._pin(snapshot, previous)
        await self._move(snapshot, previous)
        self._retry = loop.time() + RETRY_S
        self.ready = True
        await self._keep_previous(snapshot, previous)
        return True

    def _look(self) -> tuple[Snapshot, dict[str, str]]:
        snapshot, events = self._store.snapshot(), self._store.events()
        names = {name for name, alias in snapshot.aliases if alias == CHAMPION}
        found = {name: release.previous(events, name) for name in names}
        return snapshot, {name: before for name, before in found.items() if before is not None}

    def _pin(self, snapshot: Snapshot, previous: Mapping[str, str]) -> None:
        self._engine.pinned = frozenset([*snapshot.aliases.values(), *previous.values()])

    async def _move(self, snapshot: Snapshot, previous: Mapping[str, str]) -> None:
        entries = {entry.id: entry for entry in snapshot.entries}
        live = {key: entry for key, entry in self.routes.live.items() if key in snapshot.aliases}
        broken: dict[tuple[str, str], str] = {}
        self.routes = replace(self.routes, snapshot=snapshot, live=dict(live), previous=previous)
        # who is in memory moves at once, as in a rollback; nobody waits for what is read for another name
        wanted = sorted(snapshot.aliases.items(), key=lambda item: not self._engine.has(item[1]))
        for key, model_id in wanted:
            before = live.get(key)
            if before is not None and before.id == model_id:
                continue
            try:
                if self._has_room(model_id):
                    await self._engine.load(entries[model_id])
            except Exception as error:  # whatever is wrong with one model, the others are served
                if key not in self.routes.broken:
                    self._told("error", key[0], {"alias": key[1], "id": model_id, "error": str(error)})
                broken[key] = str(error)
                self.routes = replace(self.routes, broken={**self.routes.broken, **broken})
                continue
            live[key] = entries[model_id]
            self.routes = replace(self.routes, live=dict(live))
            if before is not None:
                self._told("moved", key[0], {"alias": key[1], "from": before.id, "to": model_id})
        self.routes = replace(self.routes, broken=broken)

    def _has_room(self, model_id: str) -> bool:
        """Return whether to read a model ahead; beyond the limit it is read when it is asked."""
        return self._engine.has(model_id) or self._engine.size < self._engine.memory_limit

    async def _keep_previous(self, snapshot: Snapshot, previous: Mapping[str, str]) -> None:
        entries = {entry.id: entry for entry in snapshot.entries}
        for model_id in previous.values():
            if not self._engine.has(model_id) and self._has_room(model_id):
                try:
                    await self._engine.load(entries[model_id])
                except Exception as error:
                    name = entries[model_id].name
                    self._told("error", name, {"previous": model_id, "error": str(error)})
