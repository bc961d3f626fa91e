"""Sentences that show what a masked language model has learnt."""

from typing import NamedTuple

import numpy as np

from bert_jax.predict.fill_mask import MARK, Guess, fill_mask

WORDS = range(8, 22)  # pieces in a sentence that is nice to read
TRIED = 800
SHORTEST = 3  # letters of a hidden word


class Example(NamedTuple):
    text: str  # with the mask
    truth: str
    guesses: list[Guess]


def telling_examples(
    objective, params, tokenizer, split, unigram_counts, *, max_seq_length: int, count: int = 5
) -> list[Example]:
    """Sentences of `split` whose hidden word the model guesses right, and surely, where word frequency helps least.

    The words in the middle half of readable sentences are hidden one at a time, TRIED in all. The best are taken, no sentence
    and no word twice. They are chosen to show what was learnt, not to measure it: the measure is the held-out loss.
    """
    hidden = _hidden_words(split, tokenizer, max_seq_length)[:TRIED]
    if not hidden:
        return []
    guesses = fill_mask(objective, params, tokenizer, [text for _, text, _ in hidden], max_seq_length=max_seq_length, top_k=3)
    frequency = (unigram_counts + 1) / (unigram_counts + 1).sum()

    def worth(number: int) -> float:
        """p log(p / frequency) of a right first guess: sure, and of a word that is not sure to be guessed; 0 for a wrong one."""
        truth, first = hidden[number][2], guesses[number][0][0]
        return first.probability * np.log(first.probability / frequency[truth]) if first.piece == tokenizer.pieces[truth] else 0.0

    examples, sentences, truths = [], set(), set()
    for number in sorted(range(len(hidden)), key=worth, reverse=True):
        sentence, text, truth = hidden[number]
        if sentence not in sentences and truth not in truths and len(examples) < count:
            sentences.add(sentence)
            truths.add(truth)
            shown = [Guess(_spelled(tokenizer, tokenizer.id_of[guess.piece]), guess.probability) for guess in guesses[number][0]]
            examples.append(Example(text, _spelled(tokenizer, truth), shown))
    return examples


def _spelled(tokenizer, piece_id: int) -> str:
    """The piece as a person writes it, without the mark of a word's beginning that some kinds of pieces carry."""
    return tokenizer.decode([piece_id]).strip() or tokenizer.pieces[piece_id]


def _hidden_words(split, tokenizer, max_seq_length: int) -> list[tuple[int, str, int]]:
    """(sentence, its text with one word hidden, that piece) for whole words in the middle half of the first TRIED sentences."""
    numbers = [number for number, length in enumerate(split.sentence_lengths) if length in WORDS and length + 2 <= max_seq_length]
    hidden = []
    for number in numbers[:TRIED]:
        ids = split.tokens(np.arange(*split.sentence_offsets[number : number + 2])).tolist()
        begins = [*tokenizer.starts_word[ids], True]
        for place in range(len(ids) // 4, 3 * len(ids) // 4):
            word = _spelled(tokenizer, ids[place]) if begins[place] and begins[place + 1] else ""
            if word.isalpha() and len(word) >= SHORTEST and tokenizer.unk_id not in ids:
                text = f"{tokenizer.decode(ids[:place]).strip()} {MARK} {tokenizer.decode(ids[place + 1 :]).strip()}"
                if text.count(MARK) == 1:  # or the sentence itself spells it
                    hidden.append((number, text.strip(), ids[place]))
    return hidden
