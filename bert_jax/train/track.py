"""Whether a run is on track, judged from its own records: losses beside what guessing scores, and how far each part moves."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bert_jax.finding import Finding

RATIO = "update_ratio/"  # of the metrics of a log line: the norm of an update over that of the weights
STANDS_STILL = 0.01  # of the update ratio of the group that moves fastest
FASTEST = 0.05  # update ratio: the weights are made anew within twenty steps
NEAR = 0.1  # nats below the plateau that still count as on it
LEAST_STEPS = 1000  # after warm-up, before a loss on the plateau is called stuck
RISES = {"held_out": 0.3, "train": 1.0}  # nats above the lowest so far; a line of training is a sample, held-out rows are not
FEWEST_STEPS = 100  # of an untrained model: its loss begins at that of guessing evenly, BERT's Adam with updates too large
DEVIATIONS = 6  # of so many tosses of a fair coin: one chance in a billion


class Expected(NamedTuple):
    """What the records of a run are compared with.

    Attributes:
        loss: the metric that is the cross entropy of pieces of the vocabulary; "" where there is none.
        unigram_loss: of guessing the held-out pieces by their frequency in the training text alone, in nats: the plateau that a
            model reaches within its first steps, and stays on while it ignores its input.
        random_loss: of guessing evenly, the log of the size of the vocabulary.
        num_warmup_steps, num_train_steps, weight_decay: as in the config.
        num_pairs: held-out pairs with a label.
        untrained: groups of parameters that no loss reaches.
        band: step -> (lowest, highest), nats below unigram_loss of reference runs with this config (bands.py).
    """

    loss: str
    unigram_loss: float
    random_loss: float
    num_warmup_steps: int
    num_train_steps: int
    weight_decay: float
    num_pairs: int
    untrained: frozenset[str]
    band: Mapping[int, tuple[float, float]]


class Verdict(NamedTuple):
    """What is said of a run at a step.

    Attributes:
        standing: where the held-out loss stands, a few words; "" before the first evaluation.
    """

    findings: list[Finding]
    standing: str

    def lines(self) -> list[str]:
        if not self.findings:
            return [f"on track{self.standing and ': '}{self.standing}"]
        return [f"not on track: {finding.line()}" for finding in self.findings]

    def record(self) -> dict:
        """As JSON, for `of_record` to read."""
        found = [finding._asdict() for finding in self.findings]
        return {"on_track": not found, "standing": self.standing, "findings": found}

    @classmethod
    def of_record(cls, record: Mapping) -> "Verdict":
        return cls([Finding(**finding) for finding in record["findings"]], record["standing"])


def verdict(records: Sequence[Mapping], expected: Expected, of_batches: Sequence[Finding] = ()) -> Verdict:
    """
    Args:
        records: of metrics.jsonl, the newest last.
        of_batches: what an audit of the batches found.
    """
    found = [finding for sign in SIGNS for finding in sign(records, expected)]
    return Verdict([*of_batches, *found], _standing(records, expected))


def _of(kind: str, records: Sequence[Mapping]) -> list[Mapping]:
    return [record for record in records if record["kind"] == kind]


def _standing(records, expected: Expected) -> str:
    measured = [record for record in _of("held_out", records) if expected.loss in record]
    if not measured:
        return ""
    gain = expected.unigram_loss - measured[-1][expected.loss]
    side = f"{gain:.2f} nats below" if gain > 0 else f"{-gain:.2f} nats above"
    told = f"{side} the unigram plateau of this vocabulary, {expected.unigram_loss:.2f}"
    if band := expected.band.get(measured[-1]["step"]):
        told += f" (reference runs {band[0]:.2f} to {band[1]:.2f} below)"
    return told


def stands_still(records, expected: Expected) -> Iterator[Finding]:
    """A group that moves no more than weight decay moves it, rate x decay x its length, while others train."""
    for record in _of("train", records)[-1:]:
        ratios = {name.removeprefix(RATIO): value for name, value in record.items() if name.startswith(RATIO)}
        decay = expected.weight_decay * max(line["learning_rate"] for line in _of("train", records))
        fastest = max(ratios.values(), default=0.0)
        for name in sorted(ratios.keys() - expected.untrained):
            if ratios[name] <= decay and ratios[name] < STANDS_STILL * fastest:
                yield Finding(
                    f"{name} is not trained",
                    f"updates of {ratios[name]:.1e} of its length, around step {record['step']:,}",
                    f"more than the {decay:.1e} of weight decay; the fastest group moves by {fastest:.1e}",
                    "look for a stopped gradient, a mask of the optimiser, or a loss weight of 0",
                )


def moves_too_fast(records, expected: Expected) -> Iterator[Finding]:
    for record in _of("train", records)[-1:]:
        ratios = {value: name.removeprefix(RATIO) for name, value in record.items() if name.startswith(RATIO)}
        fastest = max(ratios, default=0.0)
        if record["step"] > max(expected.num_warmup_steps, FEWEST_STEPS) and fastest > FASTEST:
            yield Finding(
                "the learning rate is too high",
                f"{ratios[fastest]} moves by {fastest:.1%} of its length at each step, around step {record['step']:,}",
                f"at most {FASTEST:.0%} after warm-up, as a rule 0.1% to 1%",
                "lower optim.learning_rate, in a new workdir",
            )


def worse_than_guessing(records, expected: Expected) -> Iterator[Finding]:
    for record in _of("train", records)[-1:]:
        late = record["step"] > max(expected.num_warmup_steps, FEWEST_STEPS)
        if late and record.get(expected.loss, 0.0) > expected.random_loss:
            yield Finding(
                "the loss is above that of guessing evenly",
                f"{expected.loss} {record[expected.loss]:.2f} around step {record['step']:,}",
                f"below {expected.random_loss:.2f}, the log of the size of the vocabulary",
                "lower optim.learning_rate; check that labels and vocabulary belong together",
            )


def stuck_on_the_plateau(records, expected: Expected) -> Iterator[Finding]:
    """After warm-up and its length once more, a tenth of the run and LEAST_STEPS, whichever is longest."""
    patience = max(expected.num_warmup_steps, expected.num_train_steps // 10, LEAST_STEPS)
    for record in _of("held_out", records)[-1:]:
        late = record["step"] >= expected.num_warmup_steps + patience
        if late and record.get(expected.loss, 0.0) > expected.unigram_loss - NEAR:
            yield Finding(
                "the model has not learnt from context",
                f"held-out {expected.loss} {record[expected.loss]:.2f} at step {record['step']:,}",
                f"below {expected.unigram_loss - NEAR:.2f}; word frequency alone gives {expected.unigram_loss:.2f}",
                "lower optim.learning_rate or raise optim.num_warmup_steps, in a new workdir; "
                "a narrow model may need a larger model.initializer_range",
            )


def rises(records, expected: Expected) -> Iterator[Finding]:
    for kind, margin in RISES.items():
        losses = [(record[expected.loss], record["step"]) for record in _of(kind, records) if expected.loss in record]
        if losses and losses[-1][0] > min(losses)[0] + margin:
            lowest, at = min(losses)
            yield Finding(
                f"the {kind.replace('_', '-')} loss has risen",
                f"{expected.loss} {losses[-1][0]:.2f} at step {losses[-1][1]:,}",
                f"near {lowest:.2f}, that of step {at:,}",
                "look at the batches between the two with replay; lower optim.learning_rate; "
                "or stop, where a small text has been read many times",
            )


def answers_the_opposite(records, expected: Expected) -> Iterator[Finding]:
    least = 0.5 - DEVIATIONS * 0.5 / max(expected.num_pairs, 1) ** 0.5
    for record in _of("held_out", records)[-1:]:
        if record.get("next_sentence_accuracy", 1.0) < least:
            yield Finding(
                "next sentences are answered worse than by a coin",
                f"{record['next_sentence_accuracy']:.1%} of {expected.num_pairs:,} held-out pairs at step {record['step']:,}",
                f"at least {least:.1%}",
                "check that training and held-out rows have the same labels: 0 = is next",
            )


def behind_reference(records, expected: Expected) -> Iterator[Finding]:
    for record in _of("held_out", records)[-1:]:
        band = expected.band.get(record["step"])
        if band and expected.unigram_loss - record[expected.loss] < band[0]:
            yield Finding(
                "the model learns more slowly than reference runs",
                f"{expected.unigram_loss - record[expected.loss]:.2f} nats below word frequency at step {record['step']:,}",
                f"{band[0]:.2f} to {band[1]:.2f} with this config",
                "compare text, versions and code with those of the reference runs (bert_jax/train/bands.py)",
            )


SIGNS = (
    stands_still,
    moves_too_fast,
    worse_than_guessing,
    stuck_on_the_plateau,
    rises,
    answers_the_opposite,
    behind_reference,
)
