"""What the recognisers of personal data find, miss and take for some: public English rows, rows of our own making.

Three kinds of rows. PUPA: 901 queries of users with marked units (most of them names of persons, firms and places,
not told apart), of which those that stand in the query are counted; a unit leaks when it is in what would be sent,
the measure of PAPILLON (Li et al., https://arxiv.org/abs/2410.17127). Own rows: templates of ours in Japanese and
English, filled with drawn values of each kind in many spellings; half of the names are on no list of the recognisers.
Who wrote the templates wrote the recognisers too, and mended them by what they missed here, so figures on own rows
are an upper bound for patterns, and a proof only for kinds with checks. Clean rows: public banking and assistant
queries, in which hardly anything is personal: what is found there is over-masked; they are lower-cased, so nothing is
said of ``unrecognised`` there.

    python -m benchmarks.privacy --data DATA
"""

import csv
import io
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.common import Run, arguments, points, public_sets, read_archive, table
from sartor.errors import EgressRefused
from sartor.evaluate.quality import proportion
from sartor.llm import names, privacy
from sartor.llm.audit import redact
from sartor.llm.policy import Policy
from sartor.types import Metric

_ROWS = 4000
_RESAMPLES = 1000
_POLICIES: Mapping[str, Policy] = {
    "mask": Policy(default_action="mask"),
    "mask, unrecognised too": Policy(default_action="mask", unrecognised="mask"),
    "block": Policy(),
    "block, unrecognised too": Policy(unrecognised="block"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A text and the personal data in it: kind and value as it stands there."""

    text: str
    units: tuple[tuple[str, str], ...]


# --- public rows -------------------------------------------------------------------------------------------


def pupa(files: Mapping[str, bytes]) -> list[Row]:
    """Return the queries with the units that stand in them, whatever the case."""
    rows: list[Row] = []
    for name, content in sorted(files.items()):
        if "pupa/" not in name:
            continue
        for row in csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")):
            query = row["user_query"]
            units = dict.fromkeys(unit.strip() for unit in row["pii_units"].split("||"))
            found = tuple((_shape(unit), unit) for unit in units if _stands(unit, query))
            rows.append(Row(query, found))
    return rows


def _stands(unit: str, query: str) -> bool:
    """Return whether a unit is in the query, and is no placeholder of something that was taken out before."""
    return bool(unit) and unit.lower() in query.lower() and "presidio" not in unit.lower()


def _shape(unit: str) -> str:
    """Return what a unit of an unknown kind looks like."""
    if any(character.isdigit() or character == "@" for character in unit):
        return "with digits"
    if not unit.isascii():
        return "other letters"
    return "one word" if len(unit.split()) == 1 else "several words"


# --- own rows ----------------------------------------------------------------------------------------------

_UNLISTED_JA = names.words(
    "綾小路 御手洗 東海林 四月一日 小鳥遊 勅使河原 鬼頭 宇都宮 京極 烏丸 一ノ瀬 久我 西園寺 鷲尾 笹川 蓮見 深津 羽生 "
    "相沢 剣持"
)
_UNLISTED_GIVEN_JA = names.words("麻呂 静香 龍之介 紗枝 琴音 源太 多恵 辰巳 澪 千鶴 勘太 志乃 吾郎 佳代 伊織 朔")
_UNLISTED_EN = names.words("Zbigniew Oluwaseun Thandiwe Bjarne Xiomara Eoghan Ngozi Siobhan Anselm Dragoslav")
_UNLISTED_SURNAMES_EN = names.words("Quenby Okonkwo Brzezinski Thistlewood Vandersloot Ferreira Haugland Mbeki")
_CITIES = names.words(
    "東京都千代田区丸の内 東京都新宿区西新宿 大阪府大阪市北区梅田 神奈川県横浜市西区みなとみらい "
    "北海道札幌市中央区大通西 福岡県福岡市博多区博多駅前 愛知県名古屋市中村区名駅 京都府京都市下京区烏丸通 "
    "宮城県仙台市青葉区一番町 広島県広島市中区紙屋町 "
    "沖縄県那覇市久茂地 石川県金沢市香林坊 兵庫県神戸市中央区三宮町 長野県松本市深志"
)
_STREETS = names.words("Baker High Maple Church Elm Park Queen Mill Station Victoria")
_ENDS = ("Street", "Road", "Avenue", "Lane", "Drive", "St.", "Rd", "Blvd")
_TOWNS = ("London", "Springfield", "Boston", "Leeds", "Austin", "Dublin")

_JA = (
    "{name}と申します。先月の請求について確認したいです。",
    "お世話になっております。{name}です。折り返しは{phone}までお願いします。",
    "{name}様の登録メールは{email}です。変更してください。",
    "配送先を{address}に変更してください。",
    "届け先は{postal} {address}、受取人は{name}さんです。",
    "カード番号{card}が二重に請求されています。",
    "振込先の口座は{iban}です。いつ反映されますか。",
    "私のマイナンバーは{my_number}です。手続きを進めてください。",
    "サーバー{ip}にログインできません。パスワードは{password} です。",
    "APIキー {key} が使えなくなりました。",
    "氏名：{name}、電話：{phone}、住所：{address}",
    "担当の{name}さんから{email}に返信がありません。",
    "電話番号が{phone}から変わりました。カードは{card}のままです。",
)
_EN = (
    "My name is {name} and I was charged twice on {card}.",
    "Please call me back on {phone}, thanks, {name}",
    "Ship it to {address}, and mail {email} when it is sent.",
    "Dear Mr. {surname}, the transfer to {iban} has not arrived.",
    "The host {ip} refuses my key {key}.",
    "I am {name}. My password is {password} and I cannot log in.",
    "{name} ({email}) asked about the card {card}.",
    "Send the parcel to {name}, {address}.",
    "Log of {ip}: user {email} failed, phone {phone}",
)


def own(language: str, rng: random.Random, rows: int) -> list[Row]:
    """Return drawn rows in a language."""
    templates = _JA if language == "ja" else _EN
    made: list[Row] = []
    for _ in range(rows):
        template = rng.choice(templates)
        values = {slot: make(rng, language) for slot, make in _MAKERS.items() if f"{{{slot}}}" in template}
        kinds = {slot: _KINDS.get(slot, slot) for slot in values}
        made.append(
            Row(template.format(**values), tuple((_told(kinds[slot], value), value) for slot, value in values.items()))
        )
    return made


def _told(kind: str, value: str) -> str:
    """Return the kind; of names, whether a list knows them."""
    if kind != "name":
        return kind
    plain = value.lower()
    listed = any(value.startswith(name) for name in (*names.SURNAMES_JA, *names.GIVEN_JA)) or any(
        word in names.GIVEN_EN or word in names.SURNAMES_EN for word in plain.split()
    )
    return "name on a list" if listed else "name on no list"


def _name(rng: random.Random, language: str) -> str:
    listed = rng.random() < 0.5
    if language == "ja":
        surname = rng.choice(names.SURNAMES_JA if listed else _UNLISTED_JA)
        given = rng.choice(names.GIVEN_JA if listed else _UNLISTED_GIVEN_JA)
        return surname + rng.choice(("", "", " ", "　")) + given if rng.random() < 0.6 else surname
    given = rng.choice(sorted(names.GIVEN_EN)).title() if listed else rng.choice(_UNLISTED_EN)
    surname = rng.choice(sorted(names.SURNAMES_EN)).title() if listed else rng.choice(_UNLISTED_SURNAMES_EN)
    return f"{given} {surname}" if rng.random() < 0.8 else given


def _surname(rng: random.Random, language: str) -> str:
    return rng.choice(_UNLISTED_SURNAMES_EN)


def _email(rng: random.Random, language: str) -> str:
    user = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789._-", k=rng.randint(3, 12))).strip(".")
    value = f"{user or 'me'}@{rng.choice(('example', 'mail.example', 'firma-x'))}.{rng.choice(('com', 'co.jp', 'org'))}"
    return _wide(value) if language == "ja" and rng.random() < 0.2 else value


def _wide(text: str) -> str:
    return "".join(chr(ord(character) + 0xFEE0) if "!" <= character <= "~" else character for character in text)


def _spelled(rng: random.Random, groups: Sequence[str], language: str) -> str:
    value = rng.choice(("", " ", "-", "-", " - ")).join(groups)
    if language == "ja" and rng.random() < 0.3:
        return _wide(value.replace(" ", "")).replace("－", rng.choice("－ー−"))
    return value


def _phone(rng: random.Random, language: str) -> str:
    digits = "".join(rng.choices("0123456789", k=8))
    if language == "ja":
        start = rng.choice(("090", "080", "070", "03", "06"))
        value = rng.choice(("-", "-", "")).join((start, digits[:4], digits[4:]))
        value = rng.choice((value, value, f"+81 {start[1:]}-{digits[:4]}-{digits[4:]}"))
        return _wide(value) if rng.random() < 0.2 else value
    area = str(rng.randint(201, 989))
    return rng.choice(
        (
            f"{area}-555-{digits[:4]}",
            f"({area}) 555-{digits[:4]}",
            f"+44 20 {digits[:4]} {digits[4:]}",
            f"+1 {area} 555 {digits[:4]}",
        )
    )


def _card(rng: random.Random, language: str) -> str:
    start, length = rng.choice((("4", 16), ("51", 16), ("37", 15), ("3530", 16), ("6011", 16), ("2221", 16)))
    body = start + "".join(rng.choices("0123456789", k=length - 1 - len(start)))
    digits = next(f"{body}{digit}" for digit in range(10) if privacy.luhn(f"{body}{digit}"))
    groups = (
        [digits[:4], digits[4:10], digits[10:]] if length == 15 else [digits[at : at + 4] for at in range(0, 16, 4)]
    )
    return _spelled(rng, groups, language)


def _iban(rng: random.Random, language: str) -> str:
    country, length = rng.choice((("DE", 22), ("GB", 22), ("FR", 27), ("NL", 18), ("NO", 15), ("MT", 31)))
    letters = "0123456789" if country in ("DE", "NO") else "0123456789ABCDEFGHIJ"
    body = "".join(rng.choices(letters, k=length - 4))
    number = int("".join(str(int(c, 36)) for c in f"{body}{country}00"))
    value = f"{country}{98 - number % 97:02d}{body}"
    groups = [value[at : at + 4] for at in range(0, length, 4)]
    return rng.choice(("", " ")).join(groups)


def _my_number(rng: random.Random, language: str) -> str:
    body = "".join(rng.choices("0123456789", k=11))
    digits = next(f"{body}{digit}" for digit in range(10) if privacy.my_number(f"{body}{digit}"))
    return _spelled(rng, [digits[:4], digits[4:8], digits[8:]], language)


def _ip(rng: random.Random, language: str) -> str:
    if rng.random() < 0.3:
        return ":".join(f"{rng.randint(1, 65535):x}" for _ in range(8))
    return ".".join(str(rng.randint(0, 255)) for _ in range(4))


def _key(rng: random.Random, language: str) -> str:
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return rng.choice(("sk-", "ghp_", "hf_")) + "".join(rng.choices(letters, k=36))


def _password(rng: random.Random, language: str) -> str:
    return "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789!#", k=rng.randint(8, 14)))


def _address(rng: random.Random, language: str) -> str:
    if language == "ja":
        one, two, three = (rng.randint(1, 30) for _ in range(3))
        street = rng.choice(
            (f"{one}丁目{two}番{three}号", f"{one}-{two}-{three}", f"{one}丁目{two}-{three}", f"{one}番地")
        )
        return rng.choice(_CITIES) + street + rng.choice(("", f" コーポ青空{rng.randint(101, 909)}号室"))
    house = f"{rng.randint(1, 4000)} {rng.choice(_STREETS)} {rng.choice(_ENDS)}"
    return house + rng.choice(("", f", {rng.choice(_TOWNS)}", f", {rng.choice(_TOWNS)}, MA 0{rng.randint(1000, 2999)}"))


def _postal(rng: random.Random, language: str) -> str:
    return f"〒{rng.randint(100, 999)}-{rng.randint(0, 9999):04d}"


_KINDS = {"surname": "name", "postal": "address", "password": "key"}
_MAKERS: Mapping[str, Callable[[random.Random, str], str]] = {
    "name": _name,
    "surname": _surname,
    "email": _email,
    "phone": _phone,
    "card": _card,
    "iban": _iban,
    "my_number": _my_number,
    "ip": _ip,
    "key": _key,
    "password": _password,
    "address": _address,
    "postal": _postal,
}


# --- figures -----------------------------------------------------------------------------------------------


def sent(row: Row, policy: Policy) -> str | None:
    """Return what leaves of a row; None where it does not."""
    try:
        return redact(row.text, policy).text
    except EgressRefused:
        return None


def judged(rows: Sequence[Row], policy: Policy) -> dict[str, Any]:
    """Return how much of rows leaks under a policy, by kind, with 95% intervals."""
    outgoing = [sent(row, policy) for row in rows]
    leaks = [
        [(kind, text is not None and unit.lower() in text.lower()) for kind, unit in row.units]
        for row, text in zip(rows, outgoing, strict=True)
    ]
    kinds: dict[str, list[bool]] = {}
    for kind, leaked in (pair for row in leaks for pair in row):
        kinds.setdefault(kind, []).append(leaked)
    blocked = proportion(sum(text is None for text in outgoing), len(rows))
    before, after = (sum(map(len, texts)) for texts in ([r.text for r in rows], [t for t in outgoing if t]))
    return {
        "rows": len(rows),
        "units": sum(map(len, leaks)),
        "leaked": _over_rows([[leaked for _, leaked in row] for row in leaks]),
        "blocked_rows": blocked,
        "characters_kept": after / before,
        "by_kind": {
            kind: {"units": len(hits), "leaked": proportion(sum(hits), len(hits))}
            for kind, hits in sorted(kinds.items())
        },
    }


def _over_rows(leaks: Iterable[Sequence[bool]]) -> Metric:
    """Return the share of units that leak; the interval draws rows anew, as units of one row go together."""
    pairs = np.array([(sum(row), len(row)) for row in leaks if row])
    draws = np.random.default_rng(0).integers(0, len(pairs), (_RESAMPLES, len(pairs)))
    drawn = pairs[draws].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    leaked, units = pairs.sum(axis=0)
    if leaked == 0:
        return proportion(0, int(units))
    return Metric(float(leaked / units), float(low), float(high))


def main() -> None:
    """Judge all policies on all rows, and write the figures."""
    options = arguments(__doc__ or "", seeds=1)
    run = Run("privacy", options, seeds=range(options.seeds))
    sets = {"PUPA": pupa(read_archive(options.data / "routing" / "routing.tar.xz"))}
    for language in ("ja", "en"):
        sets[f"own {language}"] = own(language, random.Random(f"sartor-{language}"), _ROWS)
    rows: list[dict[str, Any]] = []
    for name, made in sets.items():
        for title, policy in _POLICIES.items():
            rows.append({"set": name, "policy": title, **judged(made, policy)})
            run.say(f"{name}, {title}")
    clean: dict[str, Metric] = {}
    for name, files in public_sets(options.data).items():
        if name in ("banking77", "clinc150"):
            texts = [example.input for example in files["test"]]
            clean[name] = proportion(sum(bool(privacy.find(text)) for text in texts), len(texts))
    checked = {
        kind: sum(
            round(row["by_kind"][kind]["leaked"].value * row["by_kind"][kind]["units"])
            for row in rows
            if row["policy"] == "block" and kind in row["by_kind"]
        )
        for kind in privacy.CHECKED
    }
    run.write(rows, {"checked_kinds_leaked_under_block": checked, "clean_rows_with_a_find": clean})
    print(
        table(
            ("set", "policy", "units", "leaked %", "rows blocked %", "characters kept %"),
            [
                (
                    *(r["set"], r["policy"], r["units"], points(r["leaked"].value)),
                    *(points(r["blocked_rows"].value), points(r["characters_kept"])),
                )
                for r in rows
            ],
        )
    )
    for row in rows:
        if row["policy"] in ("mask", "mask, unrecognised too"):
            told = {k: f"{v['units']}: {points(v['leaked'].value)}" for k, v in row["by_kind"].items()}
            print(row["set"], row["policy"], told)
    print("leaked under block, kinds with checks:", checked)
    print("clean rows with a find:", {k: points(v.value) for k, v in clean.items()})


if __name__ == "__main__":
    main()
