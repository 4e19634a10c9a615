"""Bytes of a text file -> text, with a note on how.

A byte order mark decides; then strict UTF-8; then lines that break an otherwise good UTF-8 file are mended
one by one; then the code page in which the text looks most like writing (CP932 and EUC-JP against
Windows-1252, which a statistical detector confuses on a few short lines); then that detector, with a warning.
"""

import codecs
import functools
import re
from collections import Counter

from charset_normalizer import from_bytes

from sartor.errors import DataError
from sartor.types import Note

_NAMES = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 (little-endian, no byte order mark)",
    "utf-16-be": "UTF-16 (big-endian, no byte order mark)",
    "utf-32": "UTF-32",
    "cp932": "CP932 (Shift_JIS, as Excel writes it in Japan)",
    "euc_jp": "EUC-JP",
    "iso2022_jp": "ISO-2022-JP",
    "cp1252": "CP1252 (Windows, Western European)",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with that of UTF-16-LE
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook (.xlsx)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (.xls or .doc)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"PAR1", "a Parquet file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
)
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\v\f\r\x1a\x1b") + b"\x7f"
_SCORED = ("cp932", "euc_jp", "cp1252")
_GUESSED = [
    "cp1251",
    "koi8_r",
    "gb18030",
    "big5",
    "cp949",
    "cp1250",
    "cp1253",
    "cp1254",
    "cp1255",
    "cp1256",
    "cp874",
]
_SAMPLE = 1 << 16
"""Bytes that are looked at to choose a code page: enough to be sure, few enough to be quick."""
_PLAUSIBLE = 0.5
"""Below this mean score no scored code page is believed (writing in its own code page scores .7 to 1)."""


def looks_like(head: bytes) -> str | None:
    """Return what a file that begins with ``head`` is, or None when it may be text."""
    return next((what for magic, what in _MAGIC if head.startswith(magic)), None)


def decode(raw: bytes, name: str) -> tuple[str, tuple[Note, ...]]:
    r"""Return the text of a file called ``name``, and notes on the encoding and on what was mended.

    NUL characters are taken out and counted; line ends stay as they are.

    Raises:
        DataError: when the bytes are no text.
    """
    what = looks_like(raw[:16])
    if what is not None:
        raise _not_text(name, what)
    text, notes = _decode(raw, name)
    nuls = text.count("\0")
    if not nuls:
        return text, notes
    if nuls > 0.3 * len(text):
        raise _not_text(name, "binary data (mostly NUL bytes)")
    note = Note("encoding", f"{nuls:,} NUL characters were taken out of {name}.", "warning")
    return text.replace("\0", ""), (*notes, note)


def _decode(raw: bytes, name: str) -> tuple[str, tuple[Note, ...]]:
    marked = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), None) or _unmarked_utf16(raw)
    if marked == "utf-8-sig":
        raw = raw.removeprefix(codecs.BOM_UTF8)
    elif marked is not None:
        try:
            return raw.decode(marked), (_read_as(name, marked),)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name} begins as {_NAMES[marked]}, but byte {error.start:,} does not fit ({error.reason}). "
                "The file is damaged or cut short; save it again as UTF-8."
            ) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _decode_code_page(raw, name)
    if b"\x1b$" in raw and _decodes(raw, "iso2022_jp"):
        return raw.decode("iso2022_jp"), (_read_as(name, "iso2022_jp"),)
    return text, (_read_as(name, marked or "utf-8"),)


def _decode_code_page(raw: bytes, name: str) -> tuple[str, tuple[Note, ...]]:
    """Decode bytes that are not UTF-8 as a whole."""
    controls = len(raw) - len(raw.translate(None, _CONTROLS))
    if controls > 0.02 * len(raw) and controls - raw.count(0) > 0.01 * len(raw):
        raise _not_text(name, "binary data")
    if _mostly_utf8(raw):
        return _by_line(raw, "utf-8", name)
    encoding = _best(raw)
    if encoding is None:
        return _guess(raw, name)
    if _decodes(raw, encoding):
        return raw.decode(encoding), (_read_as(name, encoding),)
    return _by_line(raw, encoding, name)


def _read_as(name: str, encoding: str) -> Note:
    return Note("encoding", f"{name} was read as {_NAMES.get(encoding, encoding)}.")


def _not_text(name: str, what: str) -> DataError:
    return DataError(
        f"{name} is not a text file: it looks like {what}. "
        "Give rows as CSV, TSV, JSON Lines or text, or name the file by what it holds (.xlsx, .parquet)."
    )


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _unmarked_utf16(raw: bytes) -> str | None:
    """Return UTF-16 of one byte order when ``raw`` is plainly that: NULs in every other place only."""
    head = raw[: _SAMPLE & ~1]
    for encoding, low, high in (("utf-16-le", head[0::2], head[1::2]), ("utf-16-be", head[1::2], head[0::2])):
        if high and high.count(0) >= 0.4 * len(high) and not any(c in low for c in _CONTROLS):
            return encoding
    return None


# --- UTF-8 with foreign lines ------------------------------------------------------------------------------


def _mostly_utf8(raw: bytes) -> bool:
    """Whether the lines (or, in a file of one long line, the characters) that say something say UTF-8."""
    good = bad = 0
    for line in raw.splitlines():
        if not line.isascii():
            fits = _decodes(line, "utf-8")
            good, bad = good + fits, bad + (not fits)
    if good > bad:
        return True
    text = raw.decode("utf-8", "replace")
    return _foreign(text) > 5 * text.count("\ufffd")


def _foreign(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _by_line(raw: bytes, main: str, name: str) -> tuple[str, tuple[Note, ...]]:
    """Decode every line by ``main``, and those that it does not fit by what fits them best."""
    parts: list[str] = []
    others: Counter[str] = Counter()
    first = 0
    for number, line in enumerate(raw.splitlines(keepends=True), 1):
        try:
            parts.append(line.decode(main))
        except UnicodeDecodeError:
            first = first or number
            text, how = _mend(line, main)
            parts.append(text)
            others[how] += 1
    ways = ", ".join(f"{n:,} {how}" for how, n in others.most_common())
    warning = (
        f"{others.total():,} of {len(parts):,} lines of {name} are not {_NAMES.get(main, main)} (the first "
        f"is line {first:,}); they were read so: {ways}. Look at them if their text matters."
    )
    return "".join(parts), (_read_as(name, main), Note("encoding", warning, "warning"))


def _mend(line: bytes, main: str) -> tuple[str, str]:
    """Return a line that is not ``main``, and how it was read."""
    mended = line.decode(main, "replace")
    if _foreign(mended) > 3 * mended.count("\ufffd"):  # good but for a character cut in two
        return mended, "with a replacement character for each broken one"
    encoding = _best(line) or "cp1252"
    return line.decode(encoding, "replace"), f"as {_NAMES[encoding]}"


# --- code pages --------------------------------------------------------------------------------------------


def _guess(raw: bytes, name: str) -> tuple[str, tuple[Note, ...]]:
    """Leave it to the statistical detector."""
    best = from_bytes(_sample(raw), cp_isolation=_GUESSED).best()
    encoding = best.encoding if best is not None else "cp1252"
    text = raw.decode(encoding, "replace")
    warning = (
        f"The encoding of {name} is not UTF-8 and was guessed as {_NAMES.get(encoding, encoding)}. "
        "If its text looks wrong, save it as UTF-8."
    )
    return text, (Note("encoding", warning, "warning"),)


def _sample(raw: bytes) -> bytes:
    """Return the first lines that are not ASCII, ``_SAMPLE`` bytes at most."""
    parts: list[bytes] = []
    size = 0
    for line in raw.splitlines(keepends=True):
        if not line.isascii():
            parts.append(line)
            size += len(line)
        if size >= _SAMPLE:
            break
    return b"".join(parts)[:_SAMPLE]


def _best(raw: bytes) -> str | None:
    """Return the scored code page in which ``raw`` looks most like writing, or None when in none it does."""
    sample = _sample(raw)
    scores = {encoding: _score(sample, encoding) for encoding in _SCORED}
    best = max(scores, key=lambda encoding: scores[encoding])
    return best if scores[best] >= _PLAUSIBLE else None


def _score(sample: bytes, encoding: str) -> float:
    """Return how much the foreign characters of ``sample`` look like writing, 0..1; 0 if undecodable."""
    try:  # incremental, because the sample may end within a character
        text = codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return 0.0
    rate = _western if encoding == "cp1252" else _japanese
    total = n = 0.0
    for run in re.finditer(r"[^\x00-\x7f]+", text):
        before, after = text[run.start() - 1 : run.start()], text[run.end() : run.end() + 1]
        total += len(run[0]) * rate(run[0], before, after)
        n += len(run[0])
    mean = total / n if n else 0.0
    if encoding == "euc_jp" and not re.search("[\u3041-\u30ff\uff61-\uff9f]", text):
        # Japanese without a kana is rare; Chinese, Korean and half-width kana in CP932 all look like that.
        mean *= 0.7 if n < 30 else 0.4
    return mean


def _western(run: str, before: str, after: str) -> float:
    """Rate a run of foreign characters as Western European: é and ’ stand alone between ASCII letters."""
    if len(run) > 2:
        return 0.05
    known = all(c.isalpha() or c in "‘’“”–—…€£°«»®©™•§¿¡·´½²\xa0" for c in run)
    if len(run) == 2:
        return 0.5 if known else 0.1
    touches = before.isalpha() or after.isalpha()
    return 0.3 if not known else 1.0 if touches and run.isalpha() else 0.8


def _japanese(run: str, before: str, _after: str) -> float:
    """Rate a run of foreign characters as Japanese."""
    half = re.findall("[\uff61-\uff9f]+", run)
    half_rating = {part: _half_width(part) for part in half}
    total = sum(_character(c) for c in run) + sum(len(part) * half_rating[part] for part in half)
    mean = total / len(run)
    if len(run) == 1 and before.isalpha() and run.encode("cp932", "replace")[1:].isalpha():
        mean *= 0.2  # "don稚": a Western apostrophe that swallowed the letter after it
    return mean


@functools.lru_cache(maxsize=8192)
def _character(char: str) -> float:
    """Rate a character that is not half-width: how common it is in Japanese text."""
    if "\uff61" <= char <= "\uff9f" or "\ue000" <= char <= "\uf8ff":
        return 0.0
    if "\u3000" <= char <= "\u30ff" or "\uff01" <= char <= "\uff60":
        return 1.0
    if "\u4e00" <= char <= "\u9fff":
        return 0.8 if char.encode("cp932", "replace") < b"\x98\x73" else 0.3  # JIS level 1, level 2
    return 0.3


_MISSPELT = re.compile("(?<![ｳｶ-ﾄﾊ-ﾎ])ﾞ|(?<![ﾊ-ﾎ])ﾟ|(?<![ｳｷｼﾁﾃﾆﾋﾌﾐﾘﾞﾟ])[ｬ-ｮ]|(?<![ｦ-ﾟ])[ｧ-ｫｯ]|^ﾝ")
"""A voiced mark or a small kana after what cannot carry it."""


def _half_width(part: str) -> float:
    """Rate a run of half-width kana: by its spelling, since any byte of A1..DF decodes to one of them."""
    if _MISSPELT.search(part):
        return 0.1
    if len(part) < 2 or 4 * len(re.findall("[｡-･]", part)) > len(part):
        return 0.1
    return 0.9 if re.search("[ﾞﾟｰ]", part) else 0.7
