"""Public tables to choose and judge by: how they are read, and which of them are the same data.

A collection is a folder with one group of tables each under ``cc18``, ``pmlb`` and ``arff``: either the archive
``tabular/GROUP.tar.xz`` or the extracted ``GROUP`` (``tabular/GROUP`` too), inside ``NAME/data.csv`` with the column
``target`` and ``NAME/meta.json``.

A figure is worth something only on data that nothing was chosen by. CC-18 is never chosen by; PMLB is cut in two by
the hash of what the data *are* (:func:`source`), not of what the table is called. Two tables are taken for one
another by name (lower case, no number in front, no punctuation) and by the list of names below. That list is what a
comparison of contents found (:func:`same_contents`: rows, columns, sorted target counts; then the multisets of the
columns' values, by hand):

- under the same name in PMLB and CC-18: analcatdata_dmft, diabetes, mfeat_karhunen, mfeat_morphological,
  mfeat_zernike, tic_tac_toe, wdbc; in ARFF and CC-18: cylinder.bands (with two columns more), eucalyptus, tic-tac-toe;
- under another name in PMLB: breast_cancer_wisconsin is CC-18's wdbc; crx is its credit-approval, and australian is
  that too, encoded anew with a column less;
- within PMLB: cars and cars1 (less a column), cleve and heart_c, colic and horse_colic, house_votes_84 and vote,
  molecular_biology_promoters and promoters, 197_cpu_act and 573_cpu_act, satimage and (as a regression)
  294_satellite_image, cloud and (another target) 210_cloud, flare and (other target, less columns) solar_flare_2,
  allhyper, allrep and dis (one file of patients, three targets); glass2 is rows of glass and heart_statlog rows of
  heart_c;
- in ARFF: 22 are PMLB's. autompg (twice there) is PMLB's cars with another target, breasttumor is breast.cancer
  with another target, colic.orig is colic with another target, spect.test is rows of spect, hypothyroid is the file
  of allhyper; flags, postoperative, solar.flare1 and soybean have a few rows more than PMLB's.

GAMETES' two sets and the three monk's problems have equal counts, or nearly, and are different data. PMLB's
hypothyroid (3,163 rows) is another file than ARFF's but of the same disease; it is kept with it, to be safe.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sartor.errors import DataError
from sartor.pretrain.public import read_archive

Group = Literal["cc18", "pmlb", "arff"]
Half = Literal["validation", "report"]
GROUPS: tuple[Group, ...] = get_args(Group)
TARGET = "target"
MOST_CLASSES = 20
"""A target of numbers that no one says the task of has at most so many classes."""

CC18 = (
    *("MiceProtein", "analcatdata_authorship", "analcatdata_dmft", "balance-scale", "banknote-authentication"),
    *("blood-transfusion-service-center", "breast-w", "car", "climate-model-simulation-crashes", "cmc"),
    *("credit-approval", "credit-g", "cylinder-bands", "diabetes", "dresses-sales", "eucalyptus", "ilpd", "kc2"),
    *("mfeat-fourier", "mfeat-karhunen", "mfeat-morphological", "mfeat-zernike", "pc1", "pc3", "pc4"),
    *("qsar-biodeg", "steel-plates-fault", "tic-tac-toe", "vehicle", "wdbc"),
)
"""The thirty sets that are never chosen by (TabPFN v1's and MotherNet's test suite)."""

_ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "analcatdata_authorship": ("authorship",),
    "analcatdata_dmft": ("dmft",),
    "balance-scale": ("balance",),
    "banknote-authentication": ("banknote",),
    "blood-transfusion-service-center": ("blood-transfusion", "transfusion"),
    "breast-w": ("wisconsin", "breast-cancer-w", "breast-cancer-wisconsin-original"),
    "car": ("car-evaluation",),
    "climate-model-simulation-crashes": ("climate-crashes", "climate"),
    "cmc": ("contraceptive", "contraceptive-method-choice"),
    "credit-approval": ("crx", "credit.a", "australian", "buggyCrx"),
    "credit-g": ("german", "german-credit", "statlog-german"),
    "cylinder-bands": ("bands",),
    "diabetes": ("pima", "pima-indians-diabetes"),
    "ilpd": ("indian-liver-patient", "liver-patient"),
    "mfeat-fourier": ("mfeat-fou",),
    "mfeat-karhunen": ("mfeat-kar",),
    "mfeat-morphological": ("mfeat-mor",),
    "mfeat-zernike": ("mfeat-zer",),
    "qsar-biodeg": ("biodeg",),
    "steel-plates-fault": ("steel-plates", "steel-plate-fault"),
    "vehicle": ("vehicle-silhouettes",),
    "wdbc": ("breast-cancer-wisconsin", "breast-cancer-diagnostic"),
    # what is in no CC-18 set
    "allhyper": ("allrep", "allhypo", "allbp", "dis", "hypothyroid", "sick"),
    "breast_cancer": ("breasttumor",),
    "cars": ("cars1", "autompg", "auto-mpg", "mpg"),
    "cloud": ("210_cloud",),
    "colic": ("horse_colic", "colic.orig"),
    "cpu_act": ("197_cpu_act", "573_cpu_act"),
    "glass": ("glass2",),
    "heart_c": ("cleve", "cleveland", "heart_statlog"),
    "house_votes_84": ("vote",),
    "molecular_biology_promoters": ("promoters",),
    "postoperative_patient_data": ("postoperative",),
    "satimage": ("294_satellite_image",),
    "solar_flare_2": ("flare",),
    "spect": ("spect.test",),
}
"""What is kept together -> its other names."""


@dataclass(frozen=True, slots=True)
class RealTable:
    """A public table: named columns, and what is to be predicted."""

    name: str
    group: Group
    task: Literal["classification", "regression"]
    frame: pd.DataFrame
    """(N, D): nominal columns as strings, the others as numbers; a missing value is NaN."""
    target: NDArray[Any]
    """(N,): strings of a classification, float64 of a regression; none is missing."""
    nominal: tuple[str, ...]
    """Columns whose values are names. PMLB tells of none: its names are numbers."""
    seen_as: str = ""
    """Table of another group that is the same data (of CC-18 before PMLB), or nothing."""

    @property
    def source(self) -> str:
        """Return what the data are, whatever the table is called; tables of one source are not independent."""
        return source(self.name)


def normalised(name: str) -> str:
    """Return a table's name in lower case without a number in front, a copy's number and punctuation.

    >>> normalised("197_cpu_act"), normalised("Credit-G"), normalised("autompg (2)")
    ('cpuact', 'creditg', 'autompg')
    """
    bare = re.sub(r"\s*\(\d+\)$", "", re.sub(r"^\d+_", "", name.strip().lower()))
    return re.sub(r"[^a-z0-9]", "", bare)


_SOURCE = {normalised(other): normalised(one) for one, others in _ALSO_CALLED.items() for other in (one, *others)}
_CC18 = {normalised(name): name for name in CC18}


def source(name: str) -> str:
    """Return the normalised name that all tables of the same data share."""
    plain = normalised(name)
    return _SOURCE.get(plain, plain)


def half(name: str) -> Half | None:
    """Return which half of PMLB a table is in; none if its data are in CC-18, which is never chosen by.

    Tables of one source are in the same half.
    """
    found = source(name)
    if found in _CC18:
        return None
    return "report" if int(hashlib.sha256(found.encode()).hexdigest(), 16) % 2 else "validation"


def load(data: Path, group: str) -> Iterator[RealTable]:
    """Return the tables of a group by name; rows without a target are left out.

    Args:
        data: Folder of the collection (see the module).
        group: ``cc18``, ``pmlb`` or ``arff``.

    Raises:
        DataError: There is no such group, or it is not there, or a table is not what its ``meta.json`` says.
    """
    if group not in GROUPS:
        raise DataError(f"There is no group {group!r}; there are {', '.join(GROUPS)}.")
    files = _files(data, group)
    known = {"cc18": list(CC18)}
    if group == "arff":
        known["pmlb"] = _names(_files(data, "pmlb")) if _where(data, "pmlb") else []
    for name in _names(files):
        seen = [other for told, others in known.items() if told != group for other in others]
        match = next((other for other in seen if source(other) == source(name)), "")
        yield _read(name, group, files, match)


def _names(files: Mapping[str, Any]) -> list[str]:
    return sorted({path.partition("/")[0] for path in files if path.endswith("/data.csv")})


def _where(data: Path, group: str) -> Path | None:
    places = (data / group, data / "tabular" / group, data / "tabular" / f"{group}.tar.xz", data / f"{group}.tar.xz")
    return next((place for place in places if place.exists()), None)


def _files(data: Path, group: str) -> Mapping[str, Any]:
    """Return path inside the group -> bytes, or the path to read them from."""
    place = _where(data, group)
    if place is None:
        raise DataError(f"The folder {data.name} holds neither tabular/{group}.tar.xz nor {group}/.")
    if place.is_file():
        return read_archive(place)
    return {path.relative_to(place).as_posix(): path for path in place.glob("*/*") if path.is_file()}


def _read(table: str, group: Group, files: Mapping[str, Any], seen_as: str) -> RealTable:
    about = json.loads(_content(files, f"{table}/meta.json"))
    text = _content(files, f"{table}/data.csv").decode("utf-8")
    # an empty field is what is missing; "NA" or "None" may well be a name
    cells = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False, na_values=[""])
    nominal = tuple(about.get("nominal", ()))
    absent = [column for column in (*nominal, TARGET) if column not in cells.columns]
    if absent:
        raise DataError(f"The table {table} lacks the column {absent[0]!r} that it should have.")
    cells = cells[cells[TARGET].notna()].reset_index(drop=True)
    target, frame = np.asarray(cells[TARGET], dtype=np.str_), cells.drop(columns=TARGET)
    task = about["task"] if about["task"] in ("classification", "regression") else _task(target)
    try:
        columns = {name: frame[name] if name in nominal else pd.to_numeric(frame[name]) for name in frame.columns}
        y = target.astype(np.float64) if task == "regression" else target
    except ValueError as error:
        raise DataError(f"The table {table} has text where it should have numbers: {error}.") from None
    return RealTable(table, group, task, pd.DataFrame(columns), y, nominal, seen_as)


def _content(files: Mapping[str, Any], path: str) -> bytes:
    found = files.get(path)
    if found is None:
        raise DataError(f"The collection lacks {path}.")
    return found if isinstance(found, bytes) else found.read_bytes()


def _task(target: NDArray[Any]) -> Literal["classification", "regression"]:
    """Return the task of a target that is told of nowhere: a few whole numbers, or words, are classes."""
    if len(set(target)) > MOST_CLASSES:
        return "regression"
    try:
        numbers = target.astype(np.float64)
    except ValueError:
        return "classification"
    return "classification" if (numbers == np.round(numbers)).all() else "regression"


def same_contents(tables: Iterable[RealTable]) -> list[tuple[RealTable, RealTable]]:
    """Return pairs of tables that have as many rows and columns and the same sorted target counts.

    That is a suspicion, not a proof: a target of numbers that are all different has the same counts as any other.
    """
    alike: dict[tuple[int, int, tuple[int, ...]], list[RealTable]] = {}
    for table in tables:
        alike.setdefault(fingerprint(table), []).append(table)
    return [(one, other) for group in alike.values() for at, one in enumerate(group) for other in group[at + 1 :]]


def fingerprint(table: RealTable) -> tuple[int, int, tuple[int, ...]]:
    """Return rows, columns and the sorted counts of the target's values."""
    counts = tuple(sorted(Counter(table.target.tolist()).values(), reverse=True))
    return (*table.frame.shape, counts)
