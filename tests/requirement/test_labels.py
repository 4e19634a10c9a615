"""Labels that a description names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sartor.requirement.labels import labels_in

NAMED = {
    # a list at the end
    "Route support mails to billing, bug or other": "billing|bug|other",
    "Route support mails to billing, bug, or other.": "billing|bug|other",
    "Sort mails and chats into spam or ham": "spam|ham",
    "Classify news as world, sports, business and technology": "world|sports|business|technology",
    "Label each tweet as hate speech or not hate speech": "hate speech|not hate speech",
    "Assign tickets to hardware, software, or account access": "hardware|software|account access",
    "Tag the sentence with one of: question, statement, command": "question|statement|command",
    "Labels: positive, negative, neutral": "positive|negative|neutral",
    "Categories: sports, politics and tech": "sports|politics|tech",
    "Classify a review as good/bad": "good|bad",
    "Classify a review: good / bad / mixed": "good|bad|mixed",
    "Route mails to billing, bug or other. Be quick, or else": "billing|bug|other",
    "Is it C++ or C#?": "C++|C#",
    "spam vs ham": "spam|ham",
    "urgent or not urgent": "urgent|not urgent",
    "Decide between refund and exchange": "refund|exchange",
    "Tell whether a comment is toxic or fine": "toxic|fine",
    "Put texts into A, B or C": "A|B|C",
    "Is the tone formal, neutral or casual?": "formal|neutral|casual",
    "Triage bug reports by severity: critical, major, minor": "critical|major|minor",
    "Predict the department of a mail (sales, support, legal)": "sales|support|legal",
    "Classify the sentiment (positive, negative or neutral) of tweets": "positive|negative|neutral",
    "Is this mail about billing or about a bug?": "billing|bug",
    "Sort reviews of hotels and restaurants into positive or negative": "positive|negative",
    "For each message, say if it is a complaint, a question, or praise": "complaint|question|praise",
    "Detect the intent: book_flight, cancel-flight, or other": "book_flight|cancel-flight|other",
    "Rate the text as 1, 2, 3, 4 or 5": "1|2|3|4|5",
    "Route to 1st level, 2nd level or 3rd level": "1st level|2nd level|3rd level",
    # questions
    "Is this review positive or negative?": "positive|negative",
    "Is the review good or bad?": "good|bad",
    "Does the customer want a refund?": "yes|no",
    "Is this mail spam?": "yes|no",
    "Can we answer this without a human?": "yes|no",
    "Decide whether or not the text is about money": "yes|no",
    "Is it about money? yes or no": "yes|no",
    "Does the text mention a price or not?": "yes|no",
    # quotes
    'Sort into "needs reply" and "no reply"': "needs reply|no reply",
    "Sort into 'cat' or 'dog'": "cat|dog",
    "Sort into “late” or “on time”": "late|on time",
    # Japanese
    "問い合わせを「請求」「不具合」「その他」に分類する": "請求|不具合|その他",
    "問い合わせを請求、不具合、その他に分類する": "請求|不具合|その他",
    "問い合わせを請求・不具合・その他に分ける": "請求|不具合|その他",
    "レビューが肯定か否定かを判定する": "肯定|否定",
    "このレビューはポジティブかネガティブか判定": "ポジティブ|ネガティブ",
    "メールを迷惑メールまたは通常に振り分ける": "迷惑メール|通常",
    "ニュースを政治、経済、スポーツのどれかに分類": "政治|経済|スポーツ",
    "レビューを良い/悪いに分類": "良い|悪い",
    "文章を日本語か英語かに分ける": "日本語|英語",
    "問い合わせ内容を、料金・解約・故障・その他の4種類に分類したい": "料金|解約|故障|その他",
    "商品レビューが好意的か批判的かを判定してください": "好意的|批判的",
    "緊急度を高・中・低に分類": "高|中|低",
    "これはスパムかどうかを判定する": "はい|いいえ",
    "返金を求めているかどうか": "はい|いいえ",
    "これは苦情ですか?": "はい|いいえ",
    "『緊急』か『通常』か": "緊急|通常",
}
NAMELESS = [
    "",
    "Sort these",
    "Sort these mails",
    "Route support mails to the right team",
    "What is the topic of the text?",
    "Mails and chats of our customers",
    "Don't sort what isn't ours",
    "Find the topic of news & more",
    "問い合わせを分類する",
    "お客様の声を整理したい",
    "🙂🙂",
]


@pytest.mark.parametrize(("description", "labels"), NAMED.items())
def test_labels_that_a_description_names_are_found_in_its_order(description, labels):
    assert "|".join(labels_in(description)) == labels


@pytest.mark.parametrize("description", NAMELESS)
def test_a_description_that_names_none_gives_none(description):
    assert labels_in(description) == ()


@given(st.text(max_size=300))
def test_labels_are_none_or_several_different_and_not_blank(description):
    labels = labels_in(description)
    assert len(labels) != 1
    assert len(set(labels)) == len(labels)
    assert all(label == label.strip() != "" for label in labels)


@pytest.mark.parametrize(
    "piece", ["a ", "a, ", "a or ", "to ", "a/", "か", "、", "aか", "'", "「", "is this ", "a-", "x を "]
)
@pytest.mark.timeout(60)  # no limit of speed: a pattern that backtracks without end would take hours
def test_a_long_description_comes_to_an_end(piece):
    labels_in(piece * (2000 // len(piece)))
