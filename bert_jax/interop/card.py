"""The model card of an exported model, with the figures of its certificate."""

from pathlib import Path

from bert_jax.interop.huggingface import Model
from bert_jax.models.encoder import EncoderConfig

CARD = """---
library_name: transformers
tags:
- bert_jax
---

# {kind} from bert_jax

```python
import transformers

model = transformers.{kind}.from_pretrained("this folder"{options})
tokenizer = transformers.AutoTokenizer.from_pretrained("this folder")
```

| | |
|---|---|
{rows}

What was checked when it was exported (`certificate.json` has all of it, and the SHA-256 of each file):

{figures}
"""


def write(path: Path, model: Model, encoder: EncoderConfig, step: int, left_out: list[str], checked: dict) -> None:
    """Writes the card; `left_out` are parts of the trained model, `checked` is what certificate.certify found."""
    facts = {
        "architecture": f"{model.family}, {encoder.num_hidden_layers} layers of width {encoder.hidden_size}",
        "parameters": f"{sum(array.size for array in model.tensors.values()):,}",
        "pieces": f"{encoder.vocab_size:,}",
        "longest row": encoder.longest_row,
        "training steps": f"{step:,}",
    }
    if left_out:
        facts["left out, of use in training alone"] = ", ".join(left_out)
    if model.labels:
        facts["classes"] = ", ".join(model.labels)
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items())
    without = not model.heads and not encoder.pooler and "encoder/pooler" in model.names  # the class would draw one
    options = ", add_pooling_layer=False" if without else ""
    path.write_text(CARD.format(kind=model.kind, options=options, rows=rows, figures=figures(checked)), encoding="utf-8")


def figures(checked: dict) -> str:
    """The certificate in a few lines."""
    lines = [f"tensors: {checked['tensors_equal']} equal bit for bit"]
    apart = checked["largest_differences"]
    if isinstance(apart, dict):
        layers = {name: value for name, value in apart.items() if name.startswith(("embeddings", "layer"))}
        worst = max(layers, key=layers.get)
        lines.append(f"layers: at most {layers[worst]:.2g} apart in float32, at {worst}")
        lines += [f"{name}: at most {value:.2g} apart" for name, value in apart.items() if name not in layers]
    else:
        lines.append(f"outputs: {apart}")
    texts = checked["tokenizer"]
    cut = "{different:,} of {texts:,} texts cut into other pieces".format(**texts) if isinstance(texts, dict) else texts
    return "\n".join(f"- {line}" for line in [*lines, f"tokeniser: {cut}"])
