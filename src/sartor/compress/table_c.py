"""A model of a table as one file of C99: constant arrays, no allocation, nothing but the C library's mathematics."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartor.compress.table_plan import Plan
from sartor.compress.whole import new_file

_CODE = Path(__file__).with_name("table_predict.c")
_TYPES = {"f4": "float", "f8": "double", "i4": "int"}
_HEAD = """\
/* A generated model of a table, written by `sartor export --format c`. C99; link with -lm.

   int sartor_predict(const double *numbers, const int *codes, double *out);

   numbers  SARTOR_NUMBERS of them, named in SARTOR_NUMBER_NAMES; NaN where missing. Booleans are 1 for yes, 0 for no;
            sartor_date makes the numbers of a date.
   codes    SARTOR_CODES of them, named in SARTOR_CODE_NAMES: which of SARTOR_LEVELS, counted over the levels of that
            column alone; -1 where missing or of no such level.
   out      SARTOR_OUTPUTS: the probability of each of SARTOR_LABELS; or value, low, high.

   It returns 0, or -1 when a pointer is missing. Nothing is kept between calls, so that threads may call it at once.
   Names are UTF-8. For a check, compile with -DSARTOR_MAIN: it then reads rows from its standard input. Keep
   -ffast-math off: it takes NaN for a number. */
"""


def write_c(path: Path, plan: Plan) -> None:
    """Write one file of C.

    Raises:
        StorageError: if something stands at ``path``, or the disk does not take the file.
    """
    with new_file(path) as new, new.open("w", encoding="ascii") as file:
        file.write(_HEAD)
        file.writelines(_lines(plan))
        file.write(_CODE.read_text(encoding="ascii"))


def _lines(plan: Plan) -> Iterator[str]:
    arrays, about = plan.arrays, plan.about()
    bent, knots = arrays["bend_knots"].shape
    coded, units = arrays["units_weight"].shape
    outputs = len(arrays["bias"])
    sizes = {
        "SARTOR_NUMBERS": len(plan.numbers),
        "SARTOR_CODES": len(plan.categories),
        "SARTOR_CLASSES": len(plan.labels),
        "SARTOR_OUTPUTS": outputs if plan.labels else 3,
        "CODED_NUMBERS": len(arrays["number_slot"]),
        "GAPS": len(arrays["gap_slot"]),
        "BENT": bent,
        "KNOTS": knots,
        "CODED": coded,
        "UNITS": units,
        "OUTPUTS": outputs,
        "HUGE_NUMBER": about["huge"],
        "LARGEST": about["largest"],
        "LEAST_SCORE": about["least"],
        **{f"PRODUCTS_{at}": len(arrays[f"products_{at}_out"]) for at in (1, 2, 3)},
    }
    yield "\n"
    yield from (f"#define {name} {size!r}\n" for name, size in sizes.items())
    names = {
        "SARTOR_NUMBER_NAMES": plan.numbers,
        "SARTOR_CODE_NAMES": [field.name for field in plan.categories],
        "SARTOR_LEVELS": [level for field in plan.categories for level in field.levels],
        "SARTOR_LABELS": plan.labels or ["value", "low", "high"],
    }
    yield "\n"
    for name, texts in names.items():
        yield from _array(f"const char *const {name}", [_literal(text) for text in texts], "0", each=1)
    for name, array in arrays.items():
        kind = array.dtype.str.lstrip("<=>|")
        yield from _array(f"static const {_TYPES[kind]} {name.upper()}", _written(array, kind), "0", each=8)


def _array(declared: str, items: Sequence[str], nothing: str, *, each: int) -> Iterator[str]:
    """Yield a definition, so many items a line; C has no arrays of nothing."""
    items = items or [nothing]
    yield f"{declared}[{len(items)}] = {{\n"
    for at in range(0, len(items), each):
        yield f"{', '.join(items[at : at + each])},\n"
    yield "};\n"


def _written(array: NDArray[Any], kind: str) -> list[str]:
    """Return numbers as C reads them back to the last bit."""
    if kind == "i4":
        return [str(value) for value in array.ravel().tolist()]
    digits, end = (9, "f") if kind == "f4" else (17, "")
    texts = (np.format_float_scientific(value, precision=digits - 1, unique=True, trim="0") for value in array.ravel())
    return [f"{text}{end}" for text in texts]


def _literal(text: str) -> str:
    """Return a string literal in ASCII: bytes of UTF-8, octal where they are no plain letters."""
    plain = set(range(32, 127)) - set(b'"\\?')  # no trigraphs
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'
