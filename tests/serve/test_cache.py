from bert_jax.serve.cache import Cache


def test_what_was_used_last_stays():
    cache = Cache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c"), len(cache)) == (1, None, 3, 2)
    cache.put("a", 4)
    assert cache.get("a") == 4 and len(cache) == 2


def test_without_entries_nothing_is_kept():
    cache = Cache(0)
    cache.put("a", 1)
    assert cache.get("a") is None and len(cache) == 0
