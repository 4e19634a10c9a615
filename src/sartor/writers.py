"""Several models that write, asked at once: each row wants its own, and one base in memory answers for all.

Rows of models of one base are written in one batch, each with its own adapter around the same frozen layers, so that
sixteen rows of sixteen models cost little more than sixteen rows of one.
"""

from collections.abc import Mapping, Sequence

from sartor import families, settings
from sartor.errors import TaskError, UserError
from sartor.families.interface import Base, Writing, WritingFamily
from sartor.model import Writer, load
from sartor.registry import bundle, store
from sartor.types import Manifest, Progress, silent

_LOADED_AT_ONCE = 64
"""Models whose weights are in memory together: a few megabytes each."""


_MOST_TOLD = 3
"""Models of which it is said what is wrong with them."""


class Writers:
    """Models that write, by the names they are asked for."""

    def __init__(self, names: Sequence[str], *, dial: float | None = None) -> None:
        """Find the models; their weights are read when they are asked.

        Args:
            names: each an id, a name, name@alias, name@v3 or a folder.
            dial: as of :meth:`sartor.model.Writer.dialled`, for all; None leaves each what it is.

        Raises:
            UserError: when one is unknown or no model that writes; it names all of these.
        """
        self._dial = dial
        self._bases: dict[tuple[str, str], Base] = {}
        self.manifests: Mapping[str, Manifest] = _found(list(dict.fromkeys(names)))

    def predict(
        self,
        asked: Sequence[tuple[str, str]],
        writing: Writing | None = None,
        *,
        progress: Progress = silent,
    ) -> list[str]:
        """Return one text for each pair of a model's name and an input, in order.

        A row gets what its model alone would answer, up to the rounding of sums; draws follow the row's place.

        Raises:
            BundleError: when weights do not fit their base; nobody else answers for them.
        """
        writing = writing or Writing()
        answers = [""] * len(asked)
        done = 0
        for names in self._together([name for name, _ in asked]):
            writers = {name: self._load(name) for name in names}
            rows = [at for at, (name, _) in enumerate(asked) if name in writers]
            one = writers[names[0]]
            pairs = [(writers[asked[at][0]].weights, asked[at][1]) for at in rows]

            def told(stage: str, now: int, _: int, done: int = done) -> None:
                progress(stage, done + now, len(asked))

            for at, answer in zip(rows, one.family.answer_mixed(one.base, pairs, writing, progress=told), strict=True):
                answers[at] = answer
            done += len(rows)
        return answers

    def cut(self, asked: Sequence[tuple[str, str]], writing: Writing | None = None) -> int:
        """Return how many of the inputs are too long to be read to their end."""
        texts: dict[tuple[str, str], tuple[str, list[str]]] = {}
        for name, text in asked:
            texts.setdefault(self._stands_on(name), (name, []))[1].append(text)
        return sum(self._load(name).cut(inputs, writing) for name, inputs in texts.values())

    def _together(self, names: Sequence[str]) -> list[list[str]]:
        """Return which models are asked together: of one family and base, a few at once."""
        of_base: dict[tuple[str, str], dict[str, None]] = {}
        for name in names:
            of_base.setdefault(self._stands_on(name), {})[name] = None
        return [
            list(known)[start : start + _LOADED_AT_ONCE]
            for known in of_base.values()
            for start in range(0, len(known), _LOADED_AT_ONCE)
        ]

    def _stands_on(self, name: str) -> tuple[str, str]:
        manifest = self.manifests[name]
        return manifest.family, manifest.base.sha256

    def _load(self, name: str) -> Writer:
        loaded = load(name)
        assert isinstance(loaded, Writer), loaded  # its manifest said so
        key = self._stands_on(name)
        if key not in self._bases:
            self._bases[key] = loaded.base
        writer = loaded if self._dial is None else loaded.dialled(self._dial)
        return Writer(writer.manifest, writer.report, writer.weights, self._bases[key])


def _found(names: Sequence[str]) -> dict[str, Manifest]:
    home = settings.current().home
    found: dict[str, Manifest] = {}
    wrong: list[str] = []
    kind: type[UserError] = TaskError
    for name in names:
        try:
            manifest = bundle.read(store.resolve(name, home), verify=False).manifest
        except UserError as error:
            wrong.append(str(error))
            kind = type(error)
            continue
        if not isinstance(families.load(manifest.family), WritingFamily):
            wrong.append(f"{name!r} does not write: it is a model of {manifest.family}. Ask it alone.")
        found[name] = manifest
    if wrong:
        more = f" And {len(wrong) - _MOST_TOLD} more are wrong." if len(wrong) > _MOST_TOLD else ""
        raise kind(" ".join(wrong[:_MOST_TOLD]) + more)
    return found
