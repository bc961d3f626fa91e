"""How many parameters our configs have, beside the number that the paper gives where it gives one.

python -m experiments sizes
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from bert_jax import config as configs
from bert_jax.build import build_objective, encoder_config
from bert_jax.models.encoder import EncoderConfig
from bert_jax.objectives.electra import generator_config, generator_params
from launch.table import markdown

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


class Size(NamedTuple):
    """
    Attributes:
        row: of configs/.
        vocab_size: of the released vocabulary.
        parts: what is counted; () for all. The generator is counted with the embeddings that it shares.
        peer: the class of transformers with as many parameters, to the last.
        millions: as the paper gives them; None where it does not.
    """

    row: str
    vocab_size: int
    parts: tuple[str, ...]
    peer: str
    millions: float | None = None
    source: str = ""


BERT, DISCRIMINATOR, ENCODER = "BertForPreTraining", ("encoder", "replaced"), ("encoder",)
GENERATOR, SPANBERT = ("generator",), ("encoder", "masked_lm")
SMALLER = [f"bert.py:L{layers}_H{width}" for layers in range(2, 13, 2) for width in (128, 256, 512, 768)]  # arXiv 1908.08962
SIZES = (
    Size("bert.py:base", 30522, (), BERT, 110, "arXiv 1810.04805, section 3"),
    Size("bert.py:large", 30522, (), BERT, 340, "arXiv 1810.04805, section 3"),
    Size("bert.py:base-cased", 28996, (), BERT),
    Size("bert.py:large-cased", 28996, (), BERT),
    Size("bert.py:base-chinese", 21128, (), BERT),
    Size("bert.py:base-multilingual", 119547, (), BERT),
    *(Size(row, 30522, (), BERT) for row in SMALLER),
    Size("roberta.py:base", 50265, (), "RobertaForMaskedLM", 125, "facebookresearch/fairseq examples/roberta"),
    Size("roberta.py:large", 50265, (), "RobertaForMaskedLM", 355, "facebookresearch/fairseq examples/roberta"),
    Size("albert.py:base", 30000, (), "AlbertForPreTraining", 12, "arXiv 1909.11942, table 1"),
    Size("albert.py:large", 30000, (), "AlbertForPreTraining", 18, "arXiv 1909.11942, table 1"),
    Size("albert.py:xlarge", 30000, (), "AlbertForPreTraining", 60, "arXiv 1909.11942, table 1"),
    Size("albert.py:xxlarge", 30000, (), "AlbertForPreTraining", 235, "arXiv 1909.11942, table 1"),
    Size("electra.py:small", 30522, DISCRIMINATOR, "ElectraForPreTraining", 14, "arXiv 2003.10555, table 1"),
    Size("electra.py:base", 30522, DISCRIMINATOR, "ElectraForPreTraining", 110, "arXiv 2003.10555, table 1"),
    Size("electra.py:large", 30522, DISCRIMINATOR, "ElectraForPreTraining", 335, "arXiv 2003.10555, table 2"),
    *(Size(f"electra.py:{size}", 30522, GENERATOR, "ElectraForMaskedLM") for size in ("small", "base", "large")),
    *(Size(f"spanbert.py:{size}", 28996, SPANBERT, "BertForMaskedLM") for size in ("base", "large")),
    Size("distill.py:distilbert", 30522, (), "DistilBertForMaskedLM", 66, "arXiv 1910.01108, table 3"),
    Size("distill.py:tinybert", 30522, ENCODER, "BertModel", 14.5, "arXiv 1909.10351, table 1"),
    Size("distill.py:tinybert-6x768", 30522, ENCODER, "BertModel", 67.0, "arXiv 1909.10351, table 1"),
    Size("distill.py:minilm", 30522, ENCODER, "BertModel", 33.0, "arXiv 2002.10957, table 4"),
    Size("distill.py:minilm-6x384", 30522, ENCODER, "BertModel", 22.3, "arXiv 2002.10957, table 4"),
    Size("distill.py:minilm-6x768", 30522, ENCODER, "BertModel", 65.9, "arXiv 2002.10957, table 4"),
    Size("modern.py:base", 50368, (), "ModernBertForMaskedLM", 149, "arXiv 2412.13663, section 2.1"),
    Size("modern.py:large", 50368, (), "ModernBertForMaskedLM", 395, "arXiv 2412.13663, section 2.1"),
)


def parameters(size: Size) -> int:
    """How many the model of a row has in the parts that are counted."""
    config, teacher = load(size.row), load("bert.py:base")
    objective = build_objective(config, size.vocab_size, teacher_model=dict(teacher.model))
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    shapes, parts = (generator_params(shapes), ()) if size.parts == GENERATOR else (shapes, size.parts)
    counted = [shapes[part] for part in parts or shapes]
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(counted))


def encoder(size: Size) -> EncoderConfig:
    """Of what is counted."""
    config = load(size.row)
    whole = encoder_config(dict(config.model), size.vocab_size)
    return generator_config(whole, config.objective.generator_size) if size.parts == GENERATOR else whole


def load(row: str):
    return configs.load(str(CONFIGS / row))


def main(arguments: list[str]) -> int:
    rows = [["config", "counted", "parameters", "published", "deviation", "source"]]
    for size in SIZES:
        ours = parameters(size)
        counted = " and ".join(size.parts) or "all"
        published = (f"{size.millions:g}M", f"{ours / (size.millions * 1e6) - 1:+.1%}") if size.millions else ("", "")
        rows.append([size.row, counted, f"{ours:,}", *published, size.source])
    print(markdown(rows))
    return 0
