"""What a person is told at the end of a run: the numbers, what they mean, and what to do next."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from bert_jax import inputs
from bert_jax import workdir as workdirs
from bert_jax.predict.examples import Example, telling_examples
from bert_jax.train.track import Verdict
from bert_jax.trained import Trained, open_trained

# Held-out metrics that stand on lines of their own, or behind others; the loss is the sum of what is shown.
SHOWN = (
    "masked_lm_loss unigram_loss masked_lm_accuracy next_sentence_accuracy next_sentence_majority replaced_share loss"
).split()


def print_summary(workdir: Path, config_argument: str, *, already_finished: bool, console: Console | None = None) -> None:
    """Prints the result of the finished run in `workdir`.

    Args:
        config_argument: as given to --config, for the command that continues.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    result = workdirs.finished(workdir)
    if already_finished:
        console.print(f"This run is finished: {result['step']:,} steps. Train longer with the same command and, for instance,")
        console.print(f"  --config.train.num_train_steps={2 * result['step']}\n")
    console.print(f"Held out, after {result['step']:,} steps:")
    fills_masks = "masked_lm_loss" in result["metrics"]
    config = workdirs.read_config(workdir)
    features = config["model"].get("features", {})
    # Features without a file nobody knows of the text of a person, and items are no text.
    reads_text = all(feature.get("file") for feature in features.values()) and config["text"]["kind"] != "items"
    if fills_masks:
        _print_masked_lm(console, result["metrics"])
        _print_others(console, result["metrics"])
        if reads_text:
            _print_examples(console, open_trained(workdir), workdir)
    else:
        for name, value in result["metrics"].items():
            console.print(f"  {name.replace('_', ' '):22s}  {value:6.3f}")
    if "verdict" in result:  # a run that ended before there were any has none
        for line in Verdict.of_record(result["verdict"]).lines():
            console.print(line, markup=False)
    console.print("\nPlots:")
    for path in result["plots"]:
        console.print(f"  {Path(workdir) / path}")
    console.print("\nNext:")
    for purpose, command in _next_commands(workdir, config_argument, fills_masks, reads_text):
        console.print(f"  {purpose}\n    {command}")


def _print_masked_lm(console: Console, metrics: dict) -> None:
    gain = metrics["unigram_loss"] - metrics["masked_lm_loss"]
    side = f"{gain:.2f} nats better than that" if gain > 0 else "not better than that: it has not learnt from context yet"
    console.print(f"  masked-LM loss          {metrics['masked_lm_loss']:6.3f} nats per masked piece")
    console.print(f"  unigram baseline        {metrics['unigram_loss']:6.3f} by word frequency alone, same pieces and masks")
    console.print(f"                          {side}")
    console.print(f"  masked-LM accuracy      {metrics['masked_lm_accuracy']:6.1%}")
    if "next_sentence_accuracy" in metrics:
        majority = f"{metrics['next_sentence_majority']:.1%} by always giving the same answer"
        console.print(f"  next-sentence accuracy  {metrics['next_sentence_accuracy']:6.1%} ({majority})")


def _print_others(console: Console, metrics: dict) -> None:
    """What an objective learns beside masked LM, with a baseline behind it where there is one."""
    for name, value in metrics.items():
        if name in SHOWN or name.startswith("popularity_"):
            continue
        behind = f" ({metrics[f'popularity_{name}']:.3f} by popularity)" if f"popularity_{name}" in metrics else ""
        if name == "replaced_accuracy":
            commoner = max(metrics["replaced_share"], 1 - metrics["replaced_share"])
            behind = f" ({commoner:.1%} by always answering as is commoner)"
        number = f"{value:6.1%}" if name.endswith("accuracy") else f"{value:6.3f}"
        console.print(f"  {name.replace('_', ' '):22s}  {number}{behind}")


def _print_examples(console: Console, trained: Trained, workdir: Path) -> None:
    text = inputs.open_store(trained.config, workdir, trained.tokenizer)
    length = trained.config.data.max_seq_length
    examples = telling_examples(
        trained.objective, trained.params, trained.tokenizer, text.held_out, text.unigram_counts, max_seq_length=length
    )
    console.print("\nHeld-out sentences with one word hidden, picked where the model does best against word frequency:")
    for example in examples:
        console.print(_example(example))


def _example(example: Example) -> Text:
    before, after = example.text.split("[MASK]")
    right = example.guesses[0].piece == example.truth
    line = Text("  ").append(before).append(f"[{example.guesses[0].piece}]", "bold green" if right else "bold red").append(after)
    guesses = ", ".join(f"{guess.piece} {guess.probability:.0%}" for guess in example.guesses)
    return line.append(f"\n      guesses: {guesses}" + ("" if right else f"; it was: {example.truth}"), "dim")


def _next_commands(workdir: Path, config_argument: str, fills_masks: bool, reads_text: bool) -> list[tuple[str, str]]:
    python = "python -m bert_jax"
    ask = ("ask it yourself", f"{python} predict --workdir={workdir} --text='the function returns the [MASK] of the list .'")
    score = ("score its vectors of sentences on STS-B, in BERT_JAX_DATA", f"{python} evaluate --workdir={workdir} --sts=cls")
    return [
        *([ask if fills_masks else score] if reads_text else []),
        ("see what it reads", f"{python} show --config={config_argument} --workdir={workdir}"),
        (
            "your own text (sentences or paragraphs, an empty line between documents)",
            f"{python} train --config={config_argument} --workdir=runs/mine --config.data.input_file='my_text/*.txt'",
        ),
        (
            "BERT-base by the published recipe, on a TPU or GPU",
            f"{python} train --config=configs/bert.py:base --workdir=runs/base --config.data.input_file='my_text/*.txt'",
        ),
    ]
