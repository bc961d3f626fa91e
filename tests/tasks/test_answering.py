"""The forms on what their objectives really give: what is easy to learn is learned, and comes out as answers."""

from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from bert_jax.batch import Context
from bert_jax.data.answering import Question
from bert_jax.data.finetune import FinetuneLoader, evaluation_batches
from bert_jax.models.encoder import EncoderConfig
from bert_jax.tasks import answering, choices, ranked
from bert_jax.tasks.choices import Choice
from bert_jax.tasks.ranked import Candidate
from tests.data.small import TWELVE

ENCODER = EncoderConfig(
    vocab_size=TWELVE.size,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
WINDOWS = {"max_seq_length": 12, "doc_stride": 4, "max_query_length": 2}
DECODING = {"n_best_size": 3, "max_answer_length": 4}


def learned(objective, rows, length: int, steps: int) -> list[dict]:
    """The outputs for all rows after so many steps of Adam on them."""
    params, optimizer = objective.init(jax.random.key(0)), optax.adam(0.02)
    state, loader = optimizer.init(params), FinetuneLoader(rows, 16, 0, length)

    @jax.jit
    def step(params, state, batch):
        def loss(params):
            return objective.loss(objective.sums(params, batch, Context()), objective.counts(batch))

        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    for number in range(steps):
        params, state = step(params, state, loader.batch(number))
    found, predict = [], jax.jit(objective.predict)
    for numbers, batch in evaluation_batches(rows, 16, length):
        outputs = jax.tree.map(np.asarray, predict(params, batch))
        found += [{name: array[place] for name, array in outputs.items()} for place in range(len(numbers))]
    return found


def questions(count: int, share_without: float) -> list[Question]:
    """About paragraphs of a, b and c, of which one or two words are to be found: d, or d e; some have none."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        words = list(rng.choice(["a", "b", "c"], rng.integers(3, 13)))
        answer = [] if rng.random() < share_without else [["d"], ["d", "e"]][rng.integers(2)]
        place = rng.integers(len(words) + 1)
        paragraph = " ".join([*words[:place], *answer, *words[place:]])
        begin = len(" ".join(words[:place])) + (place > 0)
        found.append(Question("f", paragraph, ((" ".join(answer), int(begin)),) if answer else (), not answer))
    return found


@pytest.mark.parametrize("or_none", [False, True])
@pytest.mark.parametrize("cls_last", [False, True])
def test_answers_are_learned_and_found(or_none, cls_last):
    form = answering.ANSWERING_OR_NONE if or_none else answering.ANSWERING
    metrics = answering.ENGLISH_OR_NONE if or_none else answering.ENGLISH
    examples, tokenizer = questions(120, 0.3 * or_none), replace(TWELVE, cls_last=cls_last)
    rows = form.encode(examples, labels=(), tokenizer=tokenizer, **WINDOWS)
    assert len(rows.lengths) > len(examples) and rows.answers_lost == 0
    outputs = learned(form.objectives(())["answer"](ENCODER), rows, 12, steps=150)
    settings = DECODING | ({"null_threshold": 0.0} if or_none else {})
    settled = form.settled(examples, (), rows, outputs, **settings)
    said = form.answers(examples, (), rows, outputs, **settings | settled)
    found = {name: metric(*form.compared(examples, said, ())) for name, metric in metrics.items()}
    assert min(found.values()) > 0.95, found
    for question, answer in zip(examples, said):
        assert answer["answer"] == ("" if answer["begin"] is None else question.paragraph[answer["begin"] : answer["end"]])


def test_choices_are_learned_and_found():
    rng = np.random.default_rng(0)
    examples = []
    for _ in range(80):
        label = int(rng.integers(3))
        options = tuple("a d" if place == label else str(rng.choice(["a b", "c"])) for place in range(3))
        examples.append(Choice("f", "e", options, label))
    rows = choices.CHOICES.encode(examples, labels=(), tokenizer=TWELVE, max_seq_length=8)
    outputs = learned(choices.CHOICES.objectives(())["choose"](replace(ENCODER, pooler=True)), rows, 8, steps=60)
    said = choices.CHOICES.answers(examples, (), rows, outputs)
    gold, predicted = choices.CHOICES.compared(examples, said, ())
    assert np.mean(gold == predicted) > 0.95


def test_rankings_are_made_of_what_the_two_classes_give():
    examples = [Candidate(("a", word), float(word == "d"), str(number // 3)) for number, word in enumerate(["b", "d", "c"] * 10)]
    rows = ranked.RANKING.encode(examples, labels=(), tokenizer=TWELVE, max_seq_length=6)
    outputs = learned(ranked.RANKING.objectives(())["classify"](replace(ENCODER, pooler=True)), rows, 6, steps=30)
    said = ranked.RANKING.answers(examples, (), rows, outputs)
    assert {metric(*ranked.RANKING.compared(examples, said, ())) for metric in ranked.METRICS.values()} == {1.0}
