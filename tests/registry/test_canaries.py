import pytest
import tiny_bundle as made

from sartor.errors import NotFoundError, StorageError, UserError


@pytest.fixture
def two(store):
    """Two versions; the first is the champion."""
    first, second = (store.put(made.draft(seed), made.files(seed), "reviews") for seed in (1, 2))
    store.move_alias("reviews", "champion", first.id, expected=None)
    return first, second


def test_a_canary_is_the_challenger_and_ends_where_the_champion_moves(store, two):
    first, second = two
    canary = store.start_canary("reviews", second.id, 0.1, why={"kind": "promote"})
    assert store.canary("reviews") == canary
    assert store.aliases("reviews") == {"champion": first.id, "challenger": second.id}
    store.move_alias("reviews", "champion", second.id, expected=first.id, why={"kind": "success"})
    assert store.canary("reviews") is None
    assert [event.body for event in store.events()][-2]["why"] == {"kind": "success"}
    assert store.verify_chain() == len(store.events())


def test_a_canary_ends_once_and_only_by_its_own_id(store, two):
    first, second = two
    store.start_canary("reviews", second.id, 0.5)
    assert not store.end_canary("reviews", first.id, why={"kind": "fail"})
    assert store.end_canary("reviews", second.id, why={"kind": "fail"})
    assert not store.end_canary("reviews", second.id, why={"kind": "fail"})
    assert store.aliases("reviews")["champion"] == first.id
    assert store.events()[-1].body == {"name": "reviews", "id": None, "share": 0.0, "why": {"kind": "fail"}}


def test_what_cannot_be_a_canary_is_refused(store, two):
    first, second = two
    for share in (0, 1, 1.5, -0.1):
        with pytest.raises(UserError, match="between 0% and 100%"):
            store.start_canary("reviews", second.id, share)
    with pytest.raises(UserError, match="champion already"):
        store.start_canary("reviews", first.id, 0.1)
    with pytest.raises(NotFoundError, match="no version"):
        store.start_canary("reviews", "0" * 16, 0.1)
    other = store.put(made.draft(3), made.files(3), "others")
    with pytest.raises(NotFoundError, match="no champion"):
        store.start_canary("others", other.id, 0.1)
    assert store.canary("reviews") is None


def test_a_snapshot_holds_all_and_its_number_tells_of_every_change(store, two):
    first, second = two
    assert store.snapshot().aliases == {("reviews", "champion"): first.id}
    before = store.seq()
    assert store.snapshot().seq == before
    changes = [
        lambda: store.start_canary("reviews", second.id, 0.25),
        lambda: store.set_policy("reviews", "champion", {"retain": True}),
        lambda: store.end_canary("reviews", second.id, why={}),
        lambda: store.move_alias("reviews", "champion", second.id, expected=first.id),
        lambda: store.put(made.draft(3), made.files(3), "reviews"),
    ]
    for change in changes:
        change()
        assert store.seq() > before
        before = store.seq()
    found = store.snapshot()
    assert found.policies == {("reviews", "champion"): {"retain": True}}
    assert found.canaries == {}
    assert [entry.version for entry in found.entries] == [1, 2, 3]


def test_an_empty_store_has_an_empty_snapshot(store):
    assert store.seq() == 0
    assert store.snapshot().entries == ()
    assert store.canary("reviews") is None
    assert store.policy("reviews", "champion") == {}
    store.home.write_text("a file")
    with pytest.raises(StorageError):
        store.set_policy("reviews", "champion", {})
