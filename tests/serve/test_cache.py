from hypothesis import given
from hypothesis import strategies as st

from bert_jax.serve.cache import ENTRY, Cache


def test_what_was_used_last_stays():
    cache = Cache(2 * (ENTRY + 2))
    cache.put(b"a", b"1")
    cache.put(b"b", b"2")
    assert cache.get(b"a") == b"1"
    cache.put(b"c", b"3")
    assert (cache.get(b"a"), cache.get(b"b"), cache.get(b"c"), len(cache)) == (b"1", None, b"3", 2)
    cache.put(b"a", b"4")
    assert cache.get(b"a") == b"4" and len(cache) == 2


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(0, 3000))))
def test_never_takes_more_than_its_room(puts):
    cache = Cache(4000)
    for key, size in puts:
        cache.put(key, b"x" * size)
        assert cache.get(key) == b"x" * size  # none is too large
        kept = {name: cache.get(name) for name in (b"a", b"b", b"c", b"d")}
        sizes = [ENTRY + len(name) + len(value) for name, value in kept.items() if value is not None]
        assert sum(sizes) == cache.taken <= 4000 and len(sizes) == len(cache)


def test_what_is_larger_than_its_room_is_not_kept():
    cache = Cache(1000)
    cache.put(b"small", b"y")
    for key in (b"a", b"small"):
        cache.put(b"small", b"y")
        cache.put(key, b"x" * 1000)
        assert cache.get(key) is None
        assert (cache.get(b"small"), len(cache)) == ((b"y", 1) if key == b"a" else (None, 0))


def test_without_room_nothing_is_kept():
    cache = Cache(0)
    cache.put(b"a", b"1")
    assert cache.get(b"a") is None and len(cache) == 0
