"""Fine-tuned models written as StableHLO and ONNX: what jax alone and ONNX Runtime give for whole dev sets, beside ours."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from bert_jax import convert, jobs
from bert_jax.compress import stablehlo
from bert_jax.data.finetune import evaluation_batches
from bert_jax.interop import onnx
from bert_jax.interop.certificate import padded_batch
from bert_jax.trained import Trained, open_trained
from experiments.proofs.commands import finetune, timed
from experiments.proofs.finetuning import brought_in, config_of

OUTPUTS = {"sst2": ("logits_BC", "classifier"), "conll2003": ("logits_BLC", "token_classifier")}  # ours, of ONNX
SHORT = {  # what is compared is not how well it learned
    "model.matmul_dtype": "float32",
    "data.max_train_examples": 640,
    "data.max_seq_length": 512,
    "train.train_batch_size": 16,
    "train.num_train_epochs": 1.0,
}
BATCHES = {1: 1, 32: 32}  # rows of a batch -> what their length is rounded up to
LENGTHS = (5, 17, 64, 129, 300, 512)
Model = Callable[[dict], np.ndarray]


def exports(scratch: Path) -> dict:
    figures, start = {}, brought_in(scratch)
    for task in OUTPUTS:
        timed(finetune(scratch / task, config_of(task), start, SHORT))
        for form in ("stablehlo", "onnx"):
            convert.take_out(scratch / task, scratch / f"{task}-{form}", num_strings=50, form=form, say=str)
        trained = open_trained(scratch / task, say=str)
        others = {
            "stablehlo": _of_stablehlo(scratch / f"{task}-stablehlo", OUTPUTS[task][0]),
            "onnx": _of_onnx(scratch / f"{task}-onnx", OUTPUTS[task][1]),
        }
        figures[task] = _compared(trained, OUTPUTS[task][0], others)
        print(f"{task}: {figures[task]}", flush=True)
    return figures


def _of_stablehlo(folder: Path, name: str) -> Model:
    function = stablehlo.read(folder)
    return lambda batch: np.asarray(function({key: batch[key] for key in onnx.INPUTS})[name])


def _of_onnx(folder: Path, name: str) -> Model:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / onnx.FILE, providers=["CPUExecutionProvider"])
    return lambda batch: session.run([name], {theirs: batch[ours].astype(np.int64) for ours, theirs in onnx.INPUTS.items()})[0]


def _compared(trained: Trained, name: str, others: dict[str, Model]) -> dict:
    """Largest differences at real pieces, and in how many examples another class is the likeliest."""
    config, encoder = trained.config, trained.encoder
    job = jobs.make_job(config, jobs.read_examples(config), encoder, trained.objective, trained.tokenizer)
    predict = jax.jit(lambda params, batch: trained.objective.predict(params, batch)[name])
    ours = lambda batch: np.asarray(predict(trained.params, {key: batch[key] for key in onnx.INPUTS}))  # noqa: E731
    apart = {form: {} for form in others}
    likeliest = dict.fromkeys(others, 0)
    for size, multiple in BATCHES.items():
        for numbers, batch in evaluation_batches(job.dev, size, config.data.max_seq_length, multiple):
            expected = ours(batch)
            for form, model in others.items():
                difference, changed = _apart(model(batch), expected, batch, len(numbers))
                key = f"dev set, batches of {size}"
                apart[form][key] = max(apart[form].get(key, 0.0), difference)
                likeliest[form] += changed
    for length in LENGTHS:
        for size in BATCHES:
            batch = padded_batch(encoder, trained.tokenizer.pad_id, size, length)
            expected = ours(batch)
            for form, model in others.items():
                apart[form][f"{size} x {length}"] = _apart(model(batch), expected, batch, size)[0]
    largest = {form: max(found.values()) for form, found in apart.items()}
    return {
        "rows": len(job.dev.lengths),
        "largest_difference": largest,
        "another_likeliest_class": likeliest,
        "differences": apart,
    }


def _apart(found: np.ndarray, expected: np.ndarray, batch: dict, rows: int) -> tuple[float, int]:
    real = np.ones(rows, bool) if expected.ndim == 2 else batch["input_mask"][:rows] > 0
    found, expected = found[:rows][real], expected[:rows][real]
    return float(np.abs(found - expected).max()), int((found.argmax(-1) != expected.argmax(-1)).sum())
