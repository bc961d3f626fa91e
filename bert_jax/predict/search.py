"""The nearest of a collection's texts to a question, by the cosine of their vectors: all compared, or by an index of FAISS, which
looks at a part of them (HNSW, Malkov and Yashunin 2016, arXiv 1603.09320)."""

import json
from pathlib import Path

import numpy as np

from bert_jax.data.files import disk_errors, new_file, write_synced
from bert_jax.errors import UserError
from bert_jax.predict.vectors import Collection, of_length_one

EXACT, HNSW = KINDS = ("exact", "hnsw")
INDEX, INDEX_OF = "index.faiss", "index.json"
NEIGHBOURS, BUILD_WIDTH, SEARCH_WIDTH = 32, 200, 128  # of HNSW: links of a text, candidates while building and while searching


def nearest(collection: Collection, vectors_QD: np.ndarray, k: int, kind: str = EXACT) -> tuple[np.ndarray, np.ndarray]:
    """(cosines[Q, k], numbers[Q, k]) of the nearest texts, the nearest first; k at most as many as there are.

    Raises:
        UserError: the vectors have another width, or the index needs a package that is not installed.
    """
    k = min(k, collection.count)
    unit_QD = of_length_one(vectors_QD)
    if unit_QD.shape[1] != collection.settings["width"]:
        raise UserError("the vectors have another width", got=unit_QD.shape[1], expected=collection.settings["width"])
    return _compare_all(collection, unit_QD, k) if kind == EXACT else _by_index(collection, unit_QD, k)


def _compare_all(collection: Collection, unit_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """One shard after another: memory does not grow with the collection. Of equal cosines the first text comes first."""
    best_QK = np.full((len(unit_QD), 0), 0, np.float32)
    numbers_QK = np.full((len(unit_QD), 0), 0, np.int64)
    first = 0
    for shard_ND in collection.shards():
        cosines_QN = np.concatenate([best_QK, unit_QD @ shard_ND.T], axis=1)
        all_QN = np.concatenate(
            [numbers_QK, np.broadcast_to(np.arange(first, first + len(shard_ND)), (len(unit_QD), len(shard_ND)))], 1
        )
        order_QK = np.argsort(-cosines_QN, axis=1, kind="stable")[:, :k]
        best_QK, numbers_QK = np.take_along_axis(cosines_QN, order_QK, 1), np.take_along_axis(all_QN, order_QK, 1)
        first += len(shard_ND)
    return best_QK, numbers_QK


def _by_index(collection: Collection, unit_QD: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    index = open_index(collection)
    index.hnsw.efSearch = max(SEARCH_WIDTH, 2 * k)
    return index.search(unit_QD, k)


def open_index(collection: Collection):
    """The index of the collection, made where it is missing or was made of another one."""
    try:
        import faiss
    except ImportError:
        raise UserError(
            "an index needs FAISS", got="faiss is not installed", fix="pip install -e '.[search]', or --index=exact"
        ) from None
    path, told = collection.folder / INDEX, collection.folder / INDEX_OF
    made_of = {"collection": collection.identity, "neighbours": NEIGHBOURS, "build_width": BUILD_WIDTH}
    if path.exists() and told.exists() and json.loads(told.read_text(encoding="utf-8")) == made_of:
        return faiss.read_index(str(path))
    index = faiss.IndexHNSWFlat(collection.settings["width"], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_WIDTH
    for shard_ND in collection.shards():
        index.add(shard_ND)
    with disk_errors(path, "the index"):
        _write(told, path, index, made_of, faiss)
    return index


def _write(told: Path, path: Path, index, made_of: dict, faiss) -> None:
    told.unlink(missing_ok=True)
    with new_file(path) as new:
        write_synced(new, faiss.serialize_index(index).tobytes())
    with new_file(told) as new:
        write_synced(new, json.dumps(made_of).encode())
