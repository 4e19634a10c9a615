"""Which language texts are in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.errors import TaskError
from sartor.requirement.language import checked, detect

TEXTS = {
    "ja kana and kanji": (["請求書が届きません", "アプリが起動しない"], "ja"),
    "ja kanji with little kana": (["返金希望の件", "請求金額確認"], "ja"),
    "ja half-width kana": (["ﾃﾞｰﾀが消えました"], "ja"),
    "ja with Latin product names": (["iPhone の Wi-Fi が繋がらない", "Excel が開かない"], "ja"),
    "zh": (["我的账单错了", "应用程序崩溃"], "zh"),
    "ko": (["환불해 주세요", "앱이 작동하지 않아요"], "ko"),
    "en sentences": (["I was charged twice for my order and I would like a refund."], "en"),
    "en short phrases": (["refund", "bug", "crash"], "en"),
    "en one word": (["hello"], "en"),
    "en two words": (["charged twice"], "en"),
    "de": (["Ich möchte mein Geld zurück, denn die Ware ist nicht angekommen."], "de"),
    "de several": (["Die Rechnung ist falsch.", "Wo bleibt meine Bestellung?", "Das Gerät funktioniert nicht."], "de"),
    "fr": (["Bonjour, je voudrais savoir où est ma commande.", "La facture n'est pas correcte."], "fr"),
    "es": (["Hola, quiero saber dónde está mi pedido.", "La factura no es correcta."], "es"),
    "ru": (["Где мой заказ?", "Приложение не работает"], "ru"),
    "el": (["Πού είναι η παραγγελία μου;"], "el"),
    "emoji": (["🙂🙂", "👍"], "en"),
    "numbers and marks": (["123", "!?", "---"], "en"),
    "nothing": ([], "en"),
    "blank": ([" ", ""], "en"),
    "mostly Japanese": (["お問い合わせありがとうございます"] * 5 + ["Thank you for the mail"], "ja"),
}


@pytest.mark.parametrize(("texts", "code"), TEXTS.values(), ids=TEXTS)
def test_the_language_of_most_texts_is_found(texts, code):
    found, why = detect(texts)
    assert found == code
    assert why


@given(st.lists(st.text(max_size=50), max_size=5))
def test_any_text_has_a_language_and_a_reason(texts):
    code, why = detect(texts)
    assert checked(code) == code
    assert why


@pytest.mark.parametrize(("code", "found"), [("EN", "en"), (" ja ", "ja"), ("pt-BR", "pt"), ("zh_CN", "zh")])
def test_a_code_is_taken_in_any_case_and_with_a_region(code, found):
    assert checked(code) == found


@pytest.mark.parametrize("code", ["klingon", "english", "xx", "", "日本語", "e"])
def test_what_is_no_code_is_refused(code):
    with pytest.raises(TaskError, match="no language code"):
        checked(code)
