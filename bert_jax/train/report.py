"""Pictures of a run, from metrics.jsonl alone."""

from pathlib import Path

from bert_jax.train.watch import read_metrics


def plot(workdir: Path, unigram_loss: float | None) -> list[Path]:
    """Writes loss.png (with the unigram baseline), accuracy.png and learning_rate.png under report/, but for those that would be
    empty; returns their paths."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    records = read_metrics(workdir)
    folder = Path(workdir) / "report"
    folder.mkdir(exist_ok=True)
    paths = []
    kept = {metric for record in records for metric in record}
    for name, (wanted, axis_label) in FIGURES.items():
        metrics = [metric for metric in wanted if metric in kept] or [name]  # without masked LM: the loss itself
        if not kept.issuperset(metrics):
            continue
        figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
        for color, metric in zip(("tab:blue", "tab:orange"), metrics):
            for kind, style in (("train", {"alpha": 0.5, "linewidth": 1}), ("held_out", {"marker": "o", "linewidth": 2})):
                points = [(r["step"], r[metric]) for r in records if r["kind"] == kind and metric in r]
                if points:
                    axes.plot(*zip(*points), color=color, label=f"{metric.replace('_', ' ')}, {kind.replace('_', ' ')}", **style)
        if name == "loss" and unigram_loss is not None:
            axes.axhline(unigram_loss, color="0.4", linestyle="--", label="guessing by word frequency (unigram baseline)")
        if name == "loss" and (verdicts := [record for record in records if record["kind"] == "verdict"]):
            whats = [finding["what"] for finding in verdicts[-1]["findings"]]
            axes.set_title(f"not on track: {'; '.join(whats)}" if whats else "on track", fontsize="small", wrap=True)
        axes.set(xlabel="step", ylabel=axis_label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=120)
        plt.close(figure)
    return paths


FIGURES = {
    "loss": (("masked_lm_loss", "causal_lm_loss", "contrastive_loss"), "nats per predicted token or sentence"),
    "accuracy": (("masked_lm_accuracy", "causal_lm_accuracy", "next_sentence_accuracy"), "accuracy"),
    "learning_rate": (("learning_rate",), "learning rate"),
}
