"""Tags of words, and the entities that they mark."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bert_jax.data import tagging
from bert_jax.data.tagging import EncodedWords, TaggedExample
from bert_jax.metrics.entities import entity_scores, spans, split, written
from bert_jax.objectives.tag import tag, tag_crf
from bert_jax.objectives.tag_features import tag_features
from bert_jax.tasks.form import Answer, Form, Task
from bert_jax.tasks.tag_files import INNER_SCHEME, reader
from bert_jax.tasks.texts import softmax

OUTSIDE = "O"
ANY_SCHEME = "BIOES"  # reads tags of IOB2 too, as the same entities
LETTERS = {"IOB2": "BI", "BIOES": "BIES"}  # behind OUTSIDE, of the tags of each type


def labels_of(types: Sequence[str], scheme: str = INNER_SCHEME) -> tuple[str, ...]:
    """All tags of these types, OUTSIDE first; a tag of the empty type is its letter."""
    return (OUTSIDE, *(f"{letter}-{name}" if name else letter for name in sorted(types) for letter in LETTERS[scheme]))


def seen_labels(examples: Sequence[TaggedExample]) -> tuple[str, ...]:
    """All tags of the types that are there, in BIOES where an E or S is."""
    seen = {split(tag, ANY_SCHEME) for example in examples for tag in example.tags} - {(OUTSIDE, "")}
    scheme = "BIOES" if any(letter in "ES" for letter, _ in seen) else "IOB2"
    return labels_of({name for _, name in seen}, scheme)


def _tagging(labels: tuple[str, ...]) -> Mapping[str, Callable]:
    return {
        "tag": lambda encoder, word_vector: tag(encoder, len(labels), word_vector),
        "tag_crf": lambda encoder, word_vector: tag_crf(encoder, len(labels), word_vector),
        "tag_features": lambda encoder, layers, lstm_width: tag_features(encoder, len(labels), layers, lstm_width),
    }


def _encoded(
    examples: Sequence[TaggedExample], labels: tuple[str, ...], tokenizer, *, max_seq_length: int, document_context: bool
) -> EncodedWords:
    return tagging.encode(examples, tokenizer, max_seq_length, labels, document_context=document_context)


def _answers(
    examples: Sequence[TaggedExample], labels: tuple[str, ...], rows: EncodedWords, outputs: Sequence[dict], **settings
) -> list[Answer]:
    """The tags of the best path of a chain, or else the likeliest of each word; and the entities in characters of the text, each
    with the mean probability of its tags as a score."""
    probabilities = tagging.by_word(rows, [_probabilities(output) for output in outputs])
    if outputs and "tags_BL" in outputs[0]:
        tags = tagging.by_word(rows, [output["tags_BL"] for output in outputs])
    else:
        tags = [each.argmax(axis=-1) for each in probabilities]
    return [_answer(*of_example, labels) for of_example in zip(examples, tags, probabilities, strict=True)]


def _probabilities(output: dict) -> np.ndarray:
    """float[L, C]."""
    return output["probabilities_BLC"] if "probabilities_BLC" in output else softmax(output["logits_BLC"])


def _answer(example: TaggedExample, numbers: np.ndarray, probabilities: np.ndarray, labels: tuple[str, ...]) -> Answer:
    names = [labels[number] for number in numbers]
    sure = probabilities[np.arange(len(numbers)), numbers]
    return {"tags": names, "entities": entities(example, names, sure)}


def entities(example: TaggedExample, tags: Sequence[str], sure: Sequence[float] = ()) -> list[dict]:
    """What the tags mark: {"type", "text", "begin", "end"}, in characters of the text, end exclusive; with the probabilities of
    the tags "score" too, their mean."""
    text, offsets = tagging.located(example)
    found = []
    for name, first, end in spans(tags, ANY_SCHEME):
        begin, stop = offsets[first][0], offsets[end - 1][1]
        score = {"score": float(np.mean(sure[first:end]))} if len(sure) else {}
        found.append({"type": name, "text": text[begin:stop], "begin": begin, "end": stop, **score})
    return found


def _compared(examples: Sequence[TaggedExample], answers: Sequence[Answer], labels) -> tuple[list, list]:
    return [example.tags for example in examples], [answer["tags"] for answer in answers]


def shown(example: TaggedExample) -> dict:
    text, _ = tagging.located(example)
    return {"text": text, "words": list(example.words), **({} if example.tags is None else {"gold": list(example.tags)})}


def _entity_score(name: str) -> Callable[[Sequence, Sequence], float]:
    return lambda gold, predicted: entity_scores(gold, predicted, ANY_SCHEME)[name]


def token_accuracy(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> float:
    """The share of words with the right tag, those outside of entities among them."""
    return float(np.mean([a == b for pair in zip(gold, predicted, strict=True) for a, b in zip(*pair, strict=True)]))


METRICS = {name: _entity_score(name) for name in ("f1", "precision", "recall")} | {"token_accuracy": token_accuracy}


def phrases_seen(train: Sequence[TaggedExample], dev: Sequence[TaggedExample], labels) -> dict[str, float]:
    """Entities of the training set wherever the same words come again, the longest first, in the type that they had most often:
    the baseline of the shared task of 2003 but for how it breaks ties (Tjong Kim Sang and De Meulder 2003, section 4.1: F1 of
    71.18 on dev and 59.61 on test; 71.20 and 59.65 by this)."""
    types = defaultdict(Counter)
    for example in train:
        for name, begin, end in spans(example.tags, ANY_SCHEME):
            types[example.words[begin:end]][name] += 1
    known = {phrase: counts.most_common(1)[0][0] for phrase, counts in types.items()}
    longest = max(map(len, known), default=0)
    guesses = [written(_matches(example.words, known, longest), len(example.words), INNER_SCHEME) for example in dev]
    return {"seen_phrases_f1": METRICS["f1"]([example.tags for example in dev], guesses)}


def _matches(words: tuple[str, ...], known: Mapping[tuple[str, ...], str], longest: int) -> list[tuple[str, int, int]]:
    found, begin = [], 0
    while begin < len(words):
        ends = range(min(begin + longest, len(words)), begin, -1)
        end = next((end for end in ends if words[begin:end] in known), None)
        if end:
            found.append((known[words[begin:end]], begin, end))
        begin = end or begin + 1
    return found


TAGGING = Form(
    objectives=_tagging,
    pooler=False,
    encode=_encoded,
    answers=_answers,
    compared=_compared,
    shown=shown,
    labels=seen_labels,
    baseline=phrases_seen,
)


def _task(files: dict[str, str], types: tuple[str, ...], source: str, scheme: str, *, target: str = INNER_SCHEME, **how) -> Task:
    """
    Args:
        scheme: of the files; target is that of the tags that are learned.
        how: further arguments of `reader`.
    """
    read = reader(scheme, types=types, target=target, **how)
    return Task(TAGGING, files, read, METRICS, labels_of(types, target), source)


def _conll(target: str) -> Task:
    files = {split: f"ner/conll2003/eng.{end}" for split, end in (("train", "train"), ("dev", "testa"), ("test", "testb"))}
    source = "eng.train, eng.testa and eng.testb of the shared task (Tjong Kim Sang and De Meulder 2003), with the Reuters corpus"
    return _task(files, NEWS, source, "IOB1", target=target)


PLACES = ("LOC", "ORG", "PER")
NEWS = (*PLACES, "MISC")
RESUME = ("CONT", "EDU", "LOC", "NAME", "ORG", "PRO", "RACE", "TITLE")
CHARACTERS = ("msra", "resume_zh")  # tasks whose words are single characters: texts are cut so too (data.tagging.from_text)
TASKS = {
    "conll2003": _conll("IOB2"),
    "conll2003_bioes": _conll("BIOES"),
    "msra": _task(
        {"train": "ner/msra_zh/train_subset_12000.txt", "dev": "ner/msra_zh/dev.tsv", "test": "ner/msra_zh/test.tsv"},
        PLACES,
        "datasets/msra_ner of github.com/dbiir/UER-py; as a training set a part of data/peopledaily of ymcui/Chinese-BERT-wwm",
        "IOB2",
    ),
    "resume_zh": _task(
        {split: f"ner/resume_zh/{split}.char.bmes" for split in ("train", "dev", "test")},
        RESUME,
        "ResumeNER of github.com/jiesutd/LatticeLSTM (Zhang and Yang 2018)",
        "BMES",
    ),
    # Its training file is not asked for: the validation file is, and the last tenth of it is the dev set.
    "wikineural_fr": _task(
        {
            "train": "ner/wikineural_fr/val.conllu:0-90%",
            "dev": "ner/wikineural_fr/val.conllu:90-100%",
            "test": "ner/wikineural_fr/test.conllu",
        },
        NEWS,
        "data/wikineural/fr of github.com/Babelscape/wikineural (Tedeschi et al. 2021)",
        "IOB2",
        indexed=True,
    ),
    # One file: of its newspapers, one behind the other, the last fifth is held out.
    "europeana_fr": _task(
        {
            split: f"ner/europeana_fr/enp_FR.bnf.bio:{part}%"
            for split, part in (("train", "0-80"), ("dev", "80-90"), ("test", "90-100"))
        },
        PLACES,
        "enp_FR.bnf.bio of github.com/EuropeanaNewspapers/ner-corpora (Neudecker 2016)",
        "IOB1",
        window=100,
    ),
    "wikiann_en": _task(
        {"test": "ner/wikiann_en/test.conllu"},
        PLACES,
        "data/wikiann/en of github.com/Babelscape/wikineural",
        "IOB2",
        indexed=True,
    ),
}
