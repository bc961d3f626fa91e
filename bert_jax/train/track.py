"""Whether a run is on track, judged from its own records: losses beside what guessing scores, and how far each part moves."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bert_jax.finding import Finding

RATIO = "update_ratio/"  # of the metrics of a log line: the norm of its last update over that of the weights
LEARNS = 10  # times what weight decay does
FASTEST = 0.05  # update ratio: weights are made anew within twenty steps
NEAR = 0.1  # nats below the plateau that still count as on it
LEAST_STEPS = 1000  # after warm-up, before a loss on the plateau is called stuck
RISES = {"held_out": 0.3, "train": 1.0}  # nats above the lowest so far; a line of training is a sample, held-out rows are not
FEWEST_STEPS = 100  # of an untrained model: its loss begins at that of guessing evenly, BERT's Adam with large updates
LEAST_RATE = 0.01  # of the highest learning rate so far, below which no update is looked at
TOO_HIGH, NOT_TRAINED = "the learning rate is too high", "a part of the model is not trained"
SLOWER = "lower optim.learning_rate or raise optim.num_warmup_steps, in a new workdir"


class Expected(NamedTuple):
    """What the records of a run are compared with.

    Attributes:
        loss: the metric that is the cross entropy of pieces of the vocabulary; "" where there is none.
        unigram_loss: of guessing the held-out pieces by their frequency in the training text alone, in nats: the plateau that a
            model reaches within its first steps, and stays on while it ignores its input.
        random_loss: of guessing evenly, the log of the size of the vocabulary.
        num_warmup_steps, num_train_steps, weight_decay: as in the config.
        untrained: groups of parameters that no loss reaches.
        band: step -> (lowest, highest), nats below unigram_loss of reference runs with this config (bands.py).
    """

    loss: str
    unigram_loss: float
    random_loss: float
    num_warmup_steps: int
    num_train_steps: int
    weight_decay: float
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


def _ratios(record: Mapping) -> dict[str, float]:
    """Group -> update ratio."""
    return {name.removeprefix(RATIO): value for name, value in record.items() if name.startswith(RATIO)}


def _lines(records) -> list[Mapping]:
    """The lines of training but for those whose rate is so small that an update gets lost in rounding."""
    lines = _of("train", records)
    highest = max((line["learning_rate"] for line in lines), default=0.0)
    return [line for line in lines if line["learning_rate"] >= LEAST_RATE * highest]


def moves_too_fast(records, expected: Expected) -> Iterator[Finding]:
    """Large updates, of any time but the first, after which the model is not better than guessing by frequency."""
    lines = [line for line in _lines(records) if _ratios(line) and line["step"] > FEWEST_STEPS]
    fastest, step = max(((median(_ratios(line).values()), line["step"]) for line in lines), default=(0.0, 0))
    loss = _of("train", records)[-1].get(expected.loss, math.inf) if lines else 0.0
    if fastest > FASTEST and loss > expected.unigram_loss - NEAR:
        yield Finding(
            TOO_HIGH,
            f"an update of {fastest:.1%} of the length of the weights, the median of all parts, in step {step:,}",
            f"at most {FASTEST:.0%}, as a rule 0.1% to 1%, where the loss is still {loss:.2f}",
            SLOWER,
        )


def _still(lines: Sequence[Mapping], weight_decay: float) -> Iterator[set[str]]:
    """For each line, the groups that no more than weight decay moves (rate x decay x length) while others learn."""
    for line in lines:
        decay, ratios = weight_decay * line["learning_rate"], _ratios(line)
        others_learn = max(ratios.values(), default=0.0) > LEARNS * decay
        yield {name for name, ratio in ratios.items() if others_learn and ratio <= 2 * decay}


def stands_still(records, expected: Expected) -> Iterator[Finding]:
    """Updates too large leave a part without a gradient; what never learned is left out on purpose or by mistake."""
    lines = _lines(records)
    still = [*_still(lines, expected.weight_decay)]
    now, always = (still[-1] - expected.untrained, set.intersection(*still)) if still else (set(), set())
    for names, what, told, do in (
        (now & always, NOT_TRAINED, "is not trained", "look for a stopped gradient, a mask, or a loss weight of 0"),
        (now - always, TOO_HIGH, "learns no more", SLOWER),
    ):
        if names:
            ratios = _ratios(lines[-1])
            yield Finding(
                what,
                f"{', '.join(sorted(names))} {told}: an update of {max(ratios[name] for name in names):.1e} of its length in "
                f"step {lines[-1]['step']:,}, no more than weight decay makes",
                f"something like the {max(ratios.values()):.1e} of {max(ratios, key=ratios.get)}",
                do,
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
                f"{SLOWER}; a narrow model may need a larger model.initializer_range",
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
    moves_too_fast,
    stands_still,
    worse_than_guessing,
    stuck_on_the_plateau,
    rises,
    behind_reference,
)
