"""What is found, what is not, and that masking can be undone."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor.llm import privacy
from sartor.llm.privacy import find, mask


def found(text, **more):
    return [(span.kind, span.text) for span in find(text, **more)]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("write to a.b+c@mail.example.co.jp, please", [("email", "a.b+c@mail.example.co.jp")]),
        ("mail：ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ", [("email", "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ")]),
        ("my card 4111 1111 1111 1111 12/27", [("card", "4111 1111 1111 1111")]),
        ("no 4111-1111-1111-1111, exp 0127", [("card", "4111-1111-1111-1111")]),
        ("カード番号は４１１１１１１１１１１１１１１１です", [("card", "４１１１１１１１１１１１１１１１")]),
        ("amex 378282246310005.", [("card", "378282246310005")]),
        ("4111111111111112 is no card", []),
        ("to GB82 WEST 1234 5698 7654 32 please", [("iban", "GB82 WEST 1234 5698 7654 32")]),
        ("de89370400440532013000", [("iban", "de89370400440532013000")]),
        ("マイナンバーは1234-5678-9018です", [("my_number", "1234-5678-9018")]),
        ("order 123456789012 is late", []),
        ("from 192.168.0.1 and 2001:db8::1", [("ip", "192.168.0.1"), ("ip", "2001:db8::1")]),
        ("version 300.1.2.3", []),
        ("call 03-1234-5678 or 090-1234-5678", [("phone", "03-1234-5678"), ("phone", "090-1234-5678")]),
        ("電話０９０ー１２３４ー５６７８まで", [("phone", "０９０ー１２３４ー５６７８")]),
        ("ring +44 20 7946 0958 now", [("phone", "+44 20 7946 0958")]),
        ("(415) 555-2671", [("phone", "(415) 555-2671")]),
        ("key sk-proj-abcdefghijklmnop1234", [("key", "sk-proj-abcdefghijklmnop1234")]),
        ("AKIAIOSFODNN7EXAMPLE", [("key", "AKIAIOSFODNN7EXAMPLE")]),
        ("password: hunter2!", [("key", "hunter2!")]),
        ("パスワードはabc12345です", [("key", "abc12345です")]),
        ("see https://example.com/u/42?x=1", [("url", "https://example.com/u/42?x=1")]),
        ("at 221B Baker Street today", [("address", "221B Baker Street")]),
        ("東京都千代田区丸の内1丁目2番3号に住んでいます", [("address", "東京都千代田区丸の内1丁目2番3号")]),
        ("〒100-0001まで", [("address", "〒100-0001")]),
        ("my name is Zorblax Quenby and", [("name", "Zorblax Quenby")]),
        ("Sarah Connor called", [("name", "Sarah Connor")]),
        ("Dear Mr. Smith, thanks", [("name", "Smith")]),
        ("田中太郎と申します", [("name", "田中太郎")]),
        ("鈴木様より", [("name", "鈴木")]),
        ("氏名：綾小路 麻呂、", [("name", "綾小路 麻呂")]),
        ("I may mark this as will", []),
        ("The invoice was wrong and I want my money back", []),
        ("請求書が間違っています。返金してください。", []),
        ("", []),
    ],
)
def test_what_is_found(text, spans):
    assert found(text) == spans


@pytest.mark.parametrize("gap", ["", " ", "-", ".", "  ", "\u200b", "－", "\u00a0", "/", " - "])
def test_checked_numbers_are_found_whatever_separates_them(gap):
    for digits, kind in [("4111111111111111", "card"), ("123456789018", "my_number")]:
        text = gap.join(digits[at : at + 4] for at in range(0, len(digits), 4))
        masked = mask(f"it is {text}.", find(f"it is {text}."))
        assert masked.counts == {kind: 1}
        assert not any(part in masked.text for part in ("1111", "5678"))


@settings(max_examples=150, deadline=None)
@given(st.text(), st.text(), st.integers(0, 2**32))
def test_no_checked_number_is_left_in_any_text(before, after, seed):
    rng = random.Random(seed)
    body = "4" + "".join(rng.choices("0123456789", k=14))
    [card] = [f"{body}{digit}" for digit in range(10) if privacy.luhn(f"{body}{digit}")]
    text = f"{before} {card} {after}"
    assert card not in mask(text, find(text)).text


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet=st.characters(), max_size=60)
    | st.text(alphabet="a@.1-0 [NAME_1]田中太郎さんMr Bob４", max_size=60)
)
def test_masking_can_be_undone_and_spans_lie_apart(text):
    spans = find(text, unrecognised=True)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert all(text[span.start : span.end] == span.text for span in spans)
    masked = mask(text, spans)
    assert masked.unmask(masked.text) == text


def test_one_value_has_one_tag_and_a_tag_in_the_text_is_no_tag():
    text = "a@b.example wrote to c@d.example, not to a@b.example about [EMAIL_1]"
    masked = mask(text, find(text))
    assert masked.text == "[[EMAIL_1] wrote to [[EMAIL_2], not to [[EMAIL_1] about [EMAIL_1]"
    assert masked.counts == {"email": 3}
    assert masked.unmask(masked.text) == text


def test_tags_that_begin_alike_are_told_apart():
    text = " ".join(f"u{n}@a.example" for n in range(12))
    masked = mask(text, find(text))
    assert masked.unmask("[EMAIL_11] and [EMAIL_1]") == "u10@a.example and u0@a.example"


def test_what_may_be_a_name_is_only_looked_for_on_request():
    text = "please call Zorblax about it"
    assert found(text) == []
    assert found(text, unrecognised=True) == [("unrecognised", "Zorblax")]


@pytest.mark.parametrize(
    "text",
    ["1" * 5000, "4 " * 5000, "a@" * 5000, "A" * 20000, "田" * 5000, "東京都" * 2000, "[" * 5000, "GB82 " * 3000],
)
@pytest.mark.timeout(20)
def test_no_text_takes_forever(text):
    mask(text, find(text, unrecognised=True))


def test_checks():
    assert privacy.iban("DE89370400440532013000")
    assert not privacy.iban("DE8937040044053201300")
    assert privacy.my_number("123456789018")
    assert sum(privacy.my_number(f"12345678901{digit}") for digit in range(10)) == 1
