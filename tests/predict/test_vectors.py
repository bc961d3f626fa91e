"""Collections of vectors: nothing lost and nothing doubled by kills, small dtypes, folders of something else, the nearest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bert_jax.errors import UserError
from bert_jax.predict import search, vectors
from bert_jax.predict.vectors import open_collection, write

WIDTH = 6
SETTINGS = {"encoder": "abc", "pooling": "mean", "width": WIDTH, "dtype": "float32"}


class Killed(Exception):
    pass


def objects(count: int, prefix: str = "text") -> list[dict]:
    return [{"text": f"{prefix} {number}", "id": number} for number in range(count)]


def vectors_of(texts: list[str]) -> np.ndarray:
    """Of each text its own."""
    seeds = [sum(text.encode()) * 1000 + int(text.split()[-1]) for text in texts]
    return np.stack([np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds]).astype(np.float32)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(vectors, "SHARD", 10)


def make(folder, count: int = 35, by=vectors_of, **changed):
    return write(folder, objects(count), by, SETTINGS | changed, say=str)


def whole(collection) -> np.ndarray:
    return np.concatenate(list(collection.shards()))


def test_every_text_has_its_vector_of_length_one_and_its_object(tmp_path):
    collection = make(tmp_path)
    expected = vectors_of([each["text"] for each in objects(35)])
    np.testing.assert_allclose(whole(collection), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert collection.objects([34, 0, 10]) == [{"text": f"text {n}", "id": n} for n in (34, 0, 10)]
    again = open_collection(tmp_path, SETTINGS | {"dtype": "int8"})
    assert again.count == 35 and again.identity == collection.identity


def test_killed_at_any_shard_it_goes_on_and_embeds_nothing_twice(tmp_path):
    unbroken, embedded, kills = whole(make(tmp_path / "unbroken")), [], iter((1, 1, 1))
    left = next(kills)

    def killed_at_times(texts):
        nonlocal left
        if left == 0:
            left = next(kills, -1)
            raise Killed
        left -= 1
        embedded.extend(texts)
        return vectors_of(texts)

    for _ in range(3):
        with pytest.raises(Killed):
            make(tmp_path / "killed", by=killed_at_times)
        with pytest.raises(UserError, match="its embedding has not ended"):
            open_collection(tmp_path / "killed", SETTINGS)
    collection = make(tmp_path / "killed", by=killed_at_times)
    assert embedded == [each["text"] for each in objects(35)]
    np.testing.assert_array_equal(whole(collection), unbroken)
    assert collection.identity == make(tmp_path / "unbroken").identity


def test_what_a_kill_left_half_written_is_not_taken_for_a_shard(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left"):
        patch.setattr(np, "savez", full)
        make(tmp_path)
    assert not list(tmp_path.glob("*.npz")) and (tmp_path / "shard-00000.jsonl").exists()
    assert make(tmp_path).count == 35


@pytest.mark.parametrize(("dtype", "apart"), [("float16", 1e-3), ("int8", 2e-2)])
def test_small_dtypes_are_near(tmp_path, dtype, apart):
    exact, small = whole(make(tmp_path / "exact")), whole(make(tmp_path / dtype, dtype=dtype))
    assert np.abs((exact * small).sum(1) - 1).max() < apart
    with np.load(tmp_path / dtype / "shard-00000.npz") as arrays:
        assert arrays["vectors"].dtype == dtype


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("another text", "of other texts"),
        ("fewer", "of more texts"),
        ("another in the middle", "of other texts"),
        ("encoder", "vectors of another encoder"),
        ("dtype", "vectors of another dtype"),
    ],
)
def test_a_folder_of_something_else_is_refused(tmp_path, change, message):
    make(tmp_path)
    given = {"another text": objects(35, "other"), "fewer": objects(20)}.get(change, objects(35))
    changed = {"encoder": "def"} if change == "encoder" else {"dtype": "int8"} if change == "dtype" else {}
    if change == "another in the middle":
        given = given[:7] + [{"text": "new 99"}] + given[7:]
    with pytest.raises(UserError, match=message):
        write(tmp_path, given, vectors_of, SETTINGS | changed, say=str)
    assert open_collection(tmp_path, SETTINGS).count == 35


def test_another_encoder_and_a_missing_shard_are_named(tmp_path):
    make(tmp_path)
    with pytest.raises(UserError, match="another encoder: encoder differs"):
        open_collection(tmp_path, SETTINGS | {"encoder": "def"})
    shard = tmp_path / "shard-00002.npz"
    whole = shard.read_bytes()
    for damaged in (whole[:-30], b"", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match="gone or damaged(.|\n)*shard-00002.npz"):
            open_collection(tmp_path, SETTINGS)
        with pytest.raises(UserError, match="cannot be read"):
            vectors._read_vectors(shard)
    shard.unlink()
    with pytest.raises(UserError, match="shard-00002.npz"):
        open_collection(tmp_path, SETTINGS)
    with pytest.raises(UserError, match="no settings.json"):
        open_collection(tmp_path / "none", SETTINGS)


def test_nothing_to_embed_and_an_unknown_dtype_are_said(tmp_path):
    with pytest.raises(UserError, match="nothing to embed"):
        write(tmp_path / "a", [], vectors_of, SETTINGS, say=str)
    with pytest.raises(UserError, match="--dtype is unknown"):
        make(tmp_path / "b", dtype="int4")


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 45), k=st.integers(1, 12), seed=st.integers(0, 5))
def test_the_nearest_are_those_of_sorting_all_cosines(tmp_path_factory, count, k, seed):
    collection = make(tmp_path_factory.mktemp("c"), count)
    asked = np.random.default_rng(seed).normal(size=(3, WIDTH))
    cosines, numbers = search.nearest(collection, asked, k)
    all_of_them = vectors.of_length_one(asked) @ whole(collection).T
    assert numbers.shape == (3, min(k, count))
    np.testing.assert_array_equal(numbers, np.argsort(-all_of_them, axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(cosines, np.sort(all_of_them, axis=1)[:, ::-1][:, :k], atol=1e-6)


def test_the_index_finds_what_comparing_all_finds_and_is_kept(tmp_path, monkeypatch):
    faiss = pytest.importorskip("faiss", reason="no faiss: pip install -e '.[search]'")
    monkeypatch.setattr(vectors, "SHARD", 1000)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 32))
    table = {f"text {n}": centres[n % 40] + 0.5 * rng.normal(size=32) for n in range(3000)}
    by = lambda texts: np.stack([table[text] for text in texts])  # noqa: E731
    collection = write(tmp_path, objects(3000), by, SETTINGS | {"width": 32}, say=str)
    asked = centres[rng.integers(0, 40, 50)] + 0.5 * rng.normal(size=(50, 32))
    exact, found = (search.nearest(collection, asked, 10, kind)[1] for kind in search.KINDS)
    same = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found)])
    assert same >= 0.99
    monkeypatch.setattr(faiss, "IndexHNSWFlat", lambda *_: pytest.fail("the index was made again"))
    np.testing.assert_array_equal(search.nearest(collection, asked, 10, search.HNSW)[1], found)


def test_vectors_of_another_width_are_refused(tmp_path):
    with pytest.raises(UserError, match="another width\n  got:      4\n  expected: 6"):
        search.nearest(make(tmp_path), np.ones((1, 4)), 3)
