import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sartor.nn.features import BUCKETS, NGRAM_CHARACTERS, TextFeatures, hash_ngrams, idf, unit, weigh

GOLDEN_WORDS = [(439, -1), (2379, -1), (3887, -1)]
GOLDEN_CHARACTERS = [512, 907, 2242, 3580, 3720, 3837]

TEXTS = st.lists(st.text(max_size=40), min_size=1, max_size=6)
QUICK = settings(max_examples=40, deadline=None)

finite = st.floats(-1e6, 1e6, width=32)


@given(arrays(np.float32, (3, 2, 5), elements=finite))
@QUICK
def test_unit_vectors_have_length_one_and_zero_vectors_stay_zero(vectors):
    lengths = np.linalg.norm(unit(vectors), axis=-1)
    was_zero = np.linalg.norm(vectors, axis=-1) < 1e-6
    np.testing.assert_allclose(lengths[~was_zero], 1, atol=1e-5)
    assert (unit(vectors)[np.all(vectors == 0, axis=-1)] == 0).all()


@given(TEXTS)
@QUICK
def test_weighed_rows_have_length_one_unless_they_share_no_ngram(texts):
    for counts in hash_ngrams(texts):
        values = idf(counts)
        weighed = weigh(counts, values)
        lengths = np.sqrt(np.asarray(weighed.multiply(weighed).sum(axis=1)).ravel())
        has_some = np.abs(counts) @ (values > 0) > 0
        np.testing.assert_allclose(lengths, np.where(has_some, 1, 0), atol=1e-5)


@given(TEXTS)
@QUICK
def test_a_text_has_the_same_ngrams_whatever_stands_beside_it(texts):
    together = hash_ngrams(texts)
    for row, text in enumerate(texts):
        for kind in (0, 1):
            assert (together[kind][row] != hash_ngrams([text])[kind]).nnz == 0


def test_the_buckets_of_a_text_never_change():
    """Stored weights name buckets: another hash would make noise of every model there is."""
    words, characters = hash_ngrams(["Card lost", "請求"])
    assert sorted(zip(words[0].indices.tolist(), np.sign(words[0].data).tolist(), strict=True)) == GOLDEN_WORDS
    assert sorted(characters[1].indices.tolist()) == GOLDEN_CHARACTERS
    np.testing.assert_allclose(np.abs(words[0].data), np.log(2), rtol=1e-6)


def test_counts_grow_with_their_logarithm():
    words, _ = hash_ngrams(["bug", "bug bug bug"])
    bucket = words[0].indices[0]
    np.testing.assert_allclose(abs(words[1, bucket]) / abs(words[0, bucket]), np.log(4) / np.log(2), rtol=1e-6)


def test_only_the_beginning_of_a_long_text_is_hashed():
    long = "bug " * (NGRAM_CHARACTERS // 4)
    assert (hash_ngrams([long + "refund"])[0] != hash_ngrams([long])[0]).nnz == 0


def test_no_texts_give_no_rows():
    for counts in hash_ngrams([]):
        assert counts.shape == (0, BUCKETS)
        assert np.isfinite(idf(counts)).all()


@given(
    st.lists(st.lists(st.integers(0, 7), max_size=8), min_size=1, max_size=12),
    st.lists(st.integers(8, 15), min_size=1, max_size=8, unique=True),
)
@QUICK
def test_idf_cannot_tell_what_one_row_alone_holds_from_what_none_holds(others, secret):
    def counts_of(rows):
        dense = np.zeros((len(rows), 16), dtype=np.float32)
        for at, buckets in enumerate(rows):
            dense[at, buckets] = 1
        return sp.csr_matrix(dense)

    assert np.array_equal(idf(counts_of([[], *others])), idf(counts_of([secret, *others])))


def test_idf_falls_as_more_rows_hold_a_bucket():
    dense = np.tri(6, 7, dtype=np.float32)  # bucket k is in 6 - k rows
    values = idf(sp.csr_matrix(dense))
    assert (np.diff(values[:5]) > 0).all()
    assert values[5] == values[6] == 0, "one row counts as none"
    np.testing.assert_allclose(values[0], 1, atol=1e-3)


def test_taken_rows_come_in_the_order_asked_for():
    words, characters = hash_ngrams(["bug", "refund", "hello"])
    rows = TextFeatures(
        np.arange(6, dtype=np.float32).reshape(3, 1, 2), words, characters, np.array([0, 1, 0], bool), ("a", "b", "c")
    )
    taken = rows.take(np.array([2, 1, 1]))
    assert len(taken) == 3
    assert taken.texts == ("c", "b", "b")
    assert taken.cut.tolist() == [False, True, True]
    assert taken.pooled[:, 0, 0].tolist() == [4, 2, 2]
    assert (taken.words != words[[2, 1, 1]]).nnz == 0
    assert len(rows.take(np.array([], dtype=np.int64))) == 0
