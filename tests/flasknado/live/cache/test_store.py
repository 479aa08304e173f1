"""The store of kept pages: bounded in bytes, least recently used first, emptied by channel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flasknado.live.cache.pages import ENTRY_BYTES, Page
from flasknado.live.cache.questions import Selection
from flasknado.live.cache.store import Store, concerns, size_of


def page(size_bytes: int = 10, *channels: str, max_age_s: float = 60) -> Page:
    return Page([], b"x" * size_bytes, frozenset(channels or ("posts",)), (), None, max_age_s)


def at(name: object) -> Selection:
    return (str(name),), ()


def test_least_recently_asked_goes_first() -> None:
    size_bytes = page().size_bytes
    store = Store(size_bytes * 10 + size_bytes // 2)
    for number in range(10):
        store.put(at(number), page())
    assert store.get(at(0)) is not None
    store.put(at("new"), page())
    assert store.get(at(1)) is None
    assert store.get(at(0)) is not None
    assert store.held_bytes <= store.limit_bytes


def test_page_larger_than_an_eighth_is_not_kept() -> None:
    store = Store(80 * ENTRY_BYTES)
    store.put(at("large"), page(11 * ENTRY_BYTES))
    store.put(at("small"), page())
    assert store.get(at("large")) is None
    assert len(store) == 1


def test_what_a_page_is_kept_under_counts_as_well() -> None:
    store = Store(100 * ENTRY_BYTES)
    for number in range(100):
        store.put((("/", f"cookie{number}" + "x" * 4 * ENTRY_BYTES), (("dnt", "1"),)), page())
    assert len(store) < 25
    store.clear()
    assert store.held_bytes == 0


def test_page_that_is_too_old_is_forgotten() -> None:
    store = Store(100 * ENTRY_BYTES)
    store.put(at("old"), page(max_age_s=1e-9))
    assert store.get(at("old")) is None
    assert store.held_bytes == 0


CHANNELS = st.sampled_from(["posts", "post:1", "post:2", "post:*", "p*", "chat"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 5), st.sets(CHANNELS, min_size=1), st.integers(0, 9000)),
        st.sets(st.sampled_from(["posts", "post:1", "post:3", "chat"]), min_size=1),
    )
)


@given(STEPS)
def test_events_end_exactly_the_pages_that_they_concern(steps: list[object]) -> None:
    store = Store(40 * ENTRY_BYTES)
    kept: dict[Selection, Page] = {}
    for step in steps:
        if isinstance(step, tuple):
            number, channels, size_bytes = step
            kept[at(number)] = page(size_bytes, *channels)
            store.put(at(number), kept[at(number)])
        elif isinstance(step, set):
            store.drop(step)
            kept = {key: each for key, each in kept.items() if not concerns(each.channels, step)}
        held = {key: each for key in kept if (each := store.get(key)) is not None}
        assert len(held) == len(store)
        assert all(kept[key] is each for key, each in held.items())
        assert store.held_bytes == sum(size_of(*item) for item in held.items())
        assert store.held_bytes <= store.limit_bytes
    store.drop({"posts", "post:1", "post:2", "chat"})
    assert store.held_bytes == len(store) == 0
    assert not store._by_channel
    assert not store._patterns
