"""A model of a table as one ES module without dependencies, for browsers and Node."""

import base64
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sartor.compress.table_plan import Plan
from sartor.compress.whole import new_file

_CODE = Path(__file__).with_name("table_predict.js")
_HEAD = """\
// A generated model of a table, written by `sartor export --format js`. An ES module without dependencies.
//
//   import { predict } from "./model.js";
//   predict({ age: 31, city: "Kyoto", opened: "2021-03-31" })
//
// A row holds plain cells: numbers, or text that is a plain numeral; categories as text; booleans as true, false, 0, 1
// or a word for it; dates as ISO text or a Date (read in UTC). null, undefined, NaN, and what people write for it ("",
// "n/a", "-") are missing. A level that was not learned counts as none. Units, thousands and other dates are read by
// `sartor predict`, not here: such a cell is an error, and so is a column that the row lacks.
"""


def write_js(path: Path, plan: Plan) -> None:
    """Write one module.

    Raises:
        StorageError: if something stands at ``path``, or the disk does not take the file.
    """
    arrays = {name: _packed(array) for name, array in plan.arrays.items()}
    with new_file(path) as new, new.open("w", encoding="ascii") as file:
        file.write(f"{_HEAD}\nconst ABOUT = {_script(plan.about())};\nconst ARRAYS = {_script(arrays)};\n")
        file.write(_CODE.read_text(encoding="ascii"))


def _packed(array: NDArray[Any]) -> tuple[str, str]:
    """Return the kind of the numbers, and their bytes, little end first, in base64."""
    kind = array.dtype.str.lstrip("<=>|")
    return kind, base64.b64encode(array.astype(f"<{kind}").tobytes()).decode()


def _script(value: Any) -> str:
    """Return JSON that may stand in a page."""
    return json.dumps(value).replace("<", "\\u003c")
