"""One pass over the corpus, before hours go into it: faults with file and line, lengths, what of evaluation sets stands in it.

The pass streams, on all cores, and keeps in memory: the lines that are repeated most (WordCounts), so many pieces of lengths as a
sample (SAMPLE_PIECES), the examples of findings, and the n-grams that are looked for. What there is of each document, its hash
and its place, goes to a temporary file.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from ml_collections import ConfigDict

from bert_jax import build, inputs
from bert_jax.data import contiguous, keyed, pairs, sources, workers
from bert_jax.data.loader import LoaderConfig
from bert_jax.data.plans import MODES
from bert_jax.data.report import SKIP, Progress, Report
from bert_jax.data.store import Split
from bert_jax.doctor import examine, lengths
from bert_jax.doctor.against import texts_of
from bert_jax.doctor.examine import Examined, Examiner
from bert_jax.doctor.findings import KEPT, Checked, Fault
from bert_jax.doctor.overlap import STANDS_THERE, Texts
from bert_jax.report.drawing import short
from bert_jax.text.counting import WordCounts
from bert_jax.text.tokenizer import Tokenizer

LONGEST_EXCERPT = 60  # characters
SAMPLE_PIECES = 2**21
MANY, MANY_SHARE = 10, 1e-4  # a sentence that comes so often, and makes up so much of all of them, is named
MAX_REPEATED = 2**18  # different sentences that are counted at the same time
RECORD = np.dtype([("key", np.uint64), ("line", np.int64), ("source", np.int32)])
RECORDS_AT_ONCE = 2**22  # about 100 MB while they are sorted
NEVER_MADE_SHARE = 0.05  # of the vocabulary
FAULTS = {  # kind -> what it is, what to do
    examine.NEAR_EMPTY: (
        f"documents that are near empty, fewer than {examine.MIN_PIECES} pieces",
        "leave them out; rows of them are mostly padding",
    ),
    examine.ALONE: (
        "documents of one sentence, which give no pair of sentences that follow each other",
        "check that a line is a sentence and an empty line ends a document (data.input_format), or take rows without pairs",
    ),
    examine.UNKNOWN: (
        f"documents of which the vocabulary does not know more than {examine.MAX_UNKNOWN_SHARE:.0%}",
        "leave them out, or take a vocabulary of their language or learn one from this text",
    ),
    examine.TOO_LONG: (
        "sentences that are longer than a row, which cuts them off",
        "check that the text is cut into sentences (data.input_format), or raise data.max_seq_length",
    ),
    examine.NOT_COMPOSED: (
        "sentences that become other pieces than with letters and accents in one character (Unicode NFC)",
        "write the text anew in NFC",
    ),
    examine.COMPATIBILITY: (
        "sentences with characters that the vocabulary knows in their plain form (Unicode NFKC) alone",
        "write the text anew in NFKC",
    ),
    examine.CASE: (
        "sentences with words that the vocabulary knows without capitals alone",
        "take text.do_lower_case=True, or a vocabulary with capitals",
    ),
}


def check(config, workdir: Path, against: str = "", *, say: Callable[[str], None] = print) -> Checked:
    """What is to be said of the text of a pretraining config; draws report/lengths.png in the workdir.

    A vocabulary that is not there is learned, as `train` would do. Bad input is counted, whatever data.on_bad_input says; an
    input of a mixture is read once.

    Args:
        against: evaluation sets, see against.texts_of.

    Raises:
        UserError: there is no text, or a setting is wrong.
    """
    config = ConfigDict(config.to_dict())
    config.data.on_bad_input = SKIP
    rows = build.loader_config(config)
    # What rows refuse is said before hours of reading.
    share_in_rows(Split("a try", (), 9 * np.arange(5), np.array([0, 2, 4])), rows)
    looked_for = Texts(texts_of(against, say))
    vocabulary = inputs.make_vocabulary(config, workdir, say=say)
    tokenizer = inputs.open_vocabulary(config, workdir)
    examiner = Examiner(tokenizer, room(rows), rows.in_pairs, looked_for.grams)
    names = ",".join(name for name, _ in sources.parse_inputs(config.data.input_file))
    reading, progress = Report(SKIP), Progress("looking at the text", say)
    units = sources.read_units(names, config.data.input_format, reading)
    with tempfile.TemporaryFile() as spool:
        corpus = Corpus(Documents(spool))
        for examined in workers.map_in_order(examiner, units, inputs.worker_count(config)):
            corpus.add(examined, looked_for)
            progress(corpus.report, examined.share)
        reading.merge(corpus.report)
        sources.require_text(reading, names)
        findings = [*_of_reading(reading), *corpus.findings(), *_never_made(tokenizer, vocabulary), *_overlaps(looked_for)]
    picture = lengths.draw(corpus.document_lengths, corpus.sentence_lengths, rows.phases[0].max_seq_length, Path(workdir))
    return Checked([*_facts(corpus, reading, rows, looked_for), f"drawn: {picture}"], findings)


def room(rows: LoaderConfig) -> int:
    """Pieces of a sentence beyond which some are in no row of the first phase; 0 for rows that go on with them."""
    specials = pairs.SPECIALS if rows.in_pairs else contiguous.SPECIALS if rows.rows == "sentences" else None
    return 0 if specials is None else rows.phases[0].max_seq_length - specials


@dataclass
class Documents:
    """The hash and the place of each document, in a file."""

    spool: BinaryIO
    sources: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, examined: Examined) -> None:
        if not self.sources or self.sources[-1] != examined.source:
            self.sources.append(examined.source)
        records = np.empty(len(examined.document_keys), RECORD)
        records["key"], records["line"] = examined.document_keys, examined.document_lines
        records["source"] = len(self.sources) - 1
        self.spool.write(records.tobytes())
        self.count += len(records)

    def copies(self) -> tuple[int, list[tuple[str, str]]]:
        """(number of documents with the hash of an earlier one, (place, place of the first) of the KEPT first of them)."""
        total, kept = 0, []
        parts = -(-self.count // RECORDS_AT_ONCE)
        for part in range(parts):
            numbers, records = self._part(part, parts)
            order = np.argsort(records["key"], kind="stable")
            is_new = np.diff(records["key"][order], prepend=~records["key"][order[:1]]) != 0
            again, first = order[~is_new], order[np.flatnonzero(is_new)[np.cumsum(is_new) - 1]][~is_new]
            total += len(again)
            shown = np.argsort(numbers[again])[:KEPT]
            places = zip(map(self._place, records[again[shown]]), map(self._place, records[first[shown]]))
            kept += zip(numbers[again[shown]].tolist(), places)
        return total, [places for _, places in sorted(kept)[:KEPT]]

    def _part(self, part: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
        """The records whose hash leaves this rest, and their numbers."""
        self.spool.seek(0)
        numbers, kept = [], []
        for start in range(0, self.count, RECORDS_AT_ONCE):
            size = min(RECORDS_AT_ONCE, self.count - start)
            records = np.frombuffer(self.spool.read(size * RECORD.itemsize), RECORD)
            here = np.flatnonzero(records["key"] % np.uint64(parts) == part)
            numbers.append(start + here)
            kept.append(records[here])
        return np.concatenate(numbers), np.concatenate(kept)

    def _place(self, record) -> str:
        return f"{self.sources[record['source']]}, line {record['line']}"


class Corpus:
    """What was seen so far."""

    def __init__(self, documents: Documents):
        self.report = Report(SKIP)
        self.documents = documents
        self.faults = {kind: Fault(*what) for kind, what in FAULTS.items()}
        self.repeated, self.first_of = WordCounts(MAX_REPEATED), {}
        self.document_lengths, self.sentence_lengths = lengths.Lengths(), lengths.Lengths()
        self.pieces = self.unknown = 0
        self.sample = LengthSample()

    def add(self, examined: Examined, looked_for: Texts) -> None:
        self.report.merge(examined.report)
        self.documents.add(examined)
        for kind, line, text in examined.faults:
            self.faults[kind].add(f"{examined.source}, line {line}: {short(text, LONGEST_EXCERPT)}")
        for length, number, line in examined.overlaps:
            looked_for.add(length, number, f"{examined.source}, line {line}")
        self._count(examined)
        ends = np.cumsum(examined.document_sentences)
        so_far = np.concatenate([[0], np.cumsum(examined.sentence_pieces)])
        self.document_lengths.add(np.diff(so_far[ends], prepend=0))
        self.sentence_lengths.add(examined.sentence_pieces)
        self.pieces += int(so_far[-1])
        self.unknown += examined.unknown
        self.sample.add(examined)

    def _count(self, examined: Examined) -> None:
        self.repeated.add({text: often for text, (often, _) in examined.repeated.items()})
        for text, (_, line) in examined.repeated.items():
            self.first_of.setdefault(text, f"{examined.source}, line {line}")
        if len(self.first_of) > 2 * MAX_REPEATED:
            self.first_of = {text: self.first_of[text] for text in self.repeated.counts}

    def findings(self) -> Iterator[Fault]:
        """Without those of the reading."""
        documents, sentences = self.report.documents, self.report.sentences
        count, places = self.documents.copies()
        if count:
            fix = "leave them out, for what is repeated is learned by heart: data.drop_duplicates does where all letters agree"
            examples = [f"{place}: as in {first}" for place, first in places]
            what = "documents with the words of an earlier one, in any case and punctuation"
            yield Fault(what, fix, count, documents, examples)
        often = [(n, text) for text, n in self.repeated.counts.most_common(KEPT) if n >= max(MANY, MANY_SHARE * sentences)]
        if often:
            examples = [f"{self.first_of[text]}: {n:,} times {short(text, LONGEST_EXCERPT)}" for n, text in often]
            what = f"sentences that come {MANY} times and more, and are each {MANY_SHARE:.2%} of all and more"
            yield Fault(what, "leave out what pages have in common, such as menus and notices", len(often), 0, examples)
        for kind, finding in self.faults.items():
            finding.of = documents if kind in (examine.NEAR_EMPTY, examine.ALONE, examine.UNKNOWN) else sentences
            if finding.count:
                yield finding


class LengthSample:
    """The lengths of documents evenly spread over the text: of every n-th unit, n doubled whenever they hold too many pieces."""

    def __init__(self):
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._stride, self._seen = 1, 0

    def add(self, examined: Examined) -> None:
        if self._seen % self._stride == 0:
            self._kept.append((examined.document_sentences, examined.sentence_pieces))
            while len(self._kept) > 1 and sum(int(pieces.sum()) for _, pieces in self._kept) > SAMPLE_PIECES:
                self._kept, self._stride = self._kept[::2], 2 * self._stride
        self._seen += 1

    def split(self) -> Split:
        """As one that is prepared, without its pieces."""
        sentences, pieces = (np.concatenate(each) for each in zip(*self._kept))
        has_pieces = pieces > 0
        kept = np.add.reduceat(has_pieces, np.cumsum(sentences) - sentences, dtype=np.int64)
        offsets = [np.concatenate([[0], np.cumsum(counts)]) for counts in (pieces[has_pieces], kept[kept > 0])]
        return Split("a sample", (), *offsets)


def share_in_rows(split: Split, rows: LoaderConfig) -> float:
    """Of the pieces, those that are in a row of the first pairing of the first phase."""
    key = keyed.key_of(rows.seed, "plan", 0)
    steps = np.zeros(split.num_tokens + 1, np.int64)
    for stretches in MODES[rows.rows].examples(split, rows.phases[0].max_seq_length, rows.short_seq_prob, key):
        np.add.at(steps, stretches[:, 0], 1)
        np.add.at(steps, stretches[:, 0] + stretches[:, 1], -1)
    return float((np.cumsum(steps)[:-1] > 0).mean())


def _facts(corpus: Corpus, report: Report, rows: LoaderConfig, looked_for: Texts) -> Iterator[str]:
    yield report.totals()
    yield f"{corpus.pieces / 1e6:,.1f} M pieces, {corpus.unknown / max(corpus.pieces, 1):.3%} of them unknown"
    for name, measured in (("document", corpus.document_lengths), ("sentence", corpus.sentence_lengths)):
        yield from measured.lines(name)
    split = corpus.sample.split()
    if split.num_documents:
        lost, sample = 1 - share_in_rows(split, rows), f"by a sample of {split.num_documents:,} documents"
        kind = f"rows of {rows.phases[0].max_seq_length} places, data.rows={rows.rows}"
        yield f"{kind}: {lost:.2%} of the pieces are cut off, in no row of a pairing, {sample}"
    if looked_for.texts:
        short_ones = f"; {looked_for.too_short:,} are too short to be told" if looked_for.too_short else ""
        yield f"looked for {len(looked_for.texts):,} texts of evaluation sets{short_ones}"


def _of_reading(report: Report) -> Iterator[Fault]:
    fix = "mend the text; data.on_bad_input=skip leaves out what cannot be read"
    for reason, count in sorted(report.notes.items()):
        yield Fault(f"{reason}, left out or changed", fix, count, 0, [f"first in {report.places[reason]}"])


def _never_made(tokenizer: Tokenizer, path: Path) -> Iterator[Fault]:
    """Of a vocabulary of words and their rests, whose words are to come out as they are."""
    if tokenizer.settings["kind"] != "wordpiece":
        return
    given = {*tokenizer.special}
    words = [(n, piece) for n, piece in enumerate(tokenizer.pieces) if tokenizer.begins_word(piece) and piece not in given]
    words = [(n, piece) for n, piece in words if not (piece.startswith("[unused") and piece.endswith("]"))]
    never = [(n, piece) for (n, piece), ids in zip(words, tokenizer.encode([piece for _, piece in words])) if ids != [n]]
    if len(never) > NEVER_MADE_SHARE * tokenizer.size:
        what = f"pieces of the vocabulary that never come out of a text with text.do_lower_case={tokenizer.do_lower_case}"
        fix = "give the text.do_lower_case that the vocabulary was made with"
        yield Fault(what, fix, len(never), tokenizer.size, [f"{path}, line {n + 1}: {piece}" for n, piece in never[:KEPT]])


def _overlaps(looked_for: Texts) -> Iterator[Fault]:
    """One for each evaluation set."""
    found: dict[str, Fault] = {}
    sizes = Counter(text.set for text in looked_for.texts)
    for (name, place, text), share, where in looked_for.standing():
        what = f"texts of {name} that stand in the corpus, by {STANDS_THERE:.0%} of their n-grams and more"
        fix = "leave these lines of the corpus out, or say beside the scores that the model has read them"
        finding = found.setdefault(name, Fault(what, fix, of=sizes[name]))
        finding.add(f"{where}: {place}, {share:.0%}: {short(text, LONGEST_EXCERPT)}")
    yield from found.values()
