"""Files that gluebenchmark.com takes: for each test set, and the diagnostic set, index and prediction of every row, in its order
(Wang et al. 2019, arXiv 1804.07461; the numbers of rows are those of the official files, and the names those that its FAQ asks
for)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax.data.finetune import Example
from bert_jax.errors import UserError
from bert_jax.tasks import glue, tables
from bert_jax.tasks.form import Answer

LOWEST_SCORE, HIGHEST_SCORE = 0.0, 5.0  # of STS-B
HEADER = "index\tprediction"


class Part(NamedTuple):
    """
    Attributes:
        name: of the file, without .tsv.
        source: the test set, under the folder of all data.
        texts: its columns.
        count: its rows.
        index: the column of their numbers.
    """

    name: str
    source: str
    texts: tuple[str, ...]
    count: int
    index: str = "index"


SENTENCES = ("sentence1", "sentence2")
NLI = (
    Part("MNLI-m", "glue/MNLI/test_matched.tsv", SENTENCES, 9_796),
    Part("MNLI-mm", "glue/MNLI/test_mismatched.tsv", SENTENCES, 9_847),
    Part("AX", "glue/diagnostic/diagnostic.tsv", SENTENCES, 1_104),
)
PARTS = {  # config.task -> what its model predicts
    "cola": (Part("CoLA", "glue/CoLA/test.tsv", ("sentence",), 1_063),),
    "sst2": (Part("SST-2", "glue/SST-2/test.tsv", ("sentence",), 1_821),),
    "mrpc": (Part("MRPC", "glue/MRPC/test.tsv", ("#1 String", "#2 String"), 1_725),),
    "stsb": (Part("STS-B", "glue/STS-B/test.tsv", SENTENCES, 1_379),),
    "qqp": (Part("QQP", "glue/QQP/test.tsv", ("question1", "question2"), 390_965, "id"),),
    "mnli": NLI,
    "mnli_mismatched": NLI,
    "qnli": (Part("QNLI", "glue/QNLI/test.tsv", ("question", "sentence"), 5_463),),
    "rte": (Part("RTE", "glue/RTE/test.tsv", SENTENCES, 3_000),),
    "wnli": (Part("WNLI", "glue/WNLI/test.tsv", SENTENCES, 146),),
}


def parts(task: str) -> tuple[Part, ...]:
    """Raises UserError for a task that is not of GLUE."""
    if task not in PARTS:
        raise UserError("the model was not fine-tuned on a task of GLUE", got=task or "none", expected=", ".join(PARTS))
    return PARTS[task]


def read(part: Part, folder: Path) -> list[Example]:
    """The rows of the official test set.

    Raises:
        Absent: the file is not there.
        UserError: its rows are not numbered from 0 on in their order, or are not as many as they are to be.
    """
    path, examples = Path(folder) / part.source, []
    try:
        for place, (index, *texts) in tables.read(path, (part.index, *part.texts)):
            if index != str(len(examples)):
                raise UserError(
                    "the ids of the test set are not the official ones", got=f"{place}: {index}", expected=len(examples)
                )
            examples.append(Example(tuple(texts), None, place))
    except tables.Absent as error:
        raise tables.Absent(*error.args, fix=f"get it: {glue.SOURCE}") from None
    if len(examples) != part.count:
        got = f"{tables.find(path)}, line {len(examples) + 1}: it ends behind {len(examples):,} rows"
        raise UserError("the test set is not the official one", got=got, expected=f"{part.count:,} rows")
    return examples


def content(part: Part, answers: Sequence[Answer]) -> str:
    """The file of a part. Scores are brought into the range of STS-B's, and have three decimals.

    Raises:
        UserError: there are not as many answers as rows.
    """
    if len(answers) != part.count:
        raise UserError(f"{part.name} needs an answer to every row", got=f"{len(answers):,}", expected=f"{part.count:,}")
    return "\n".join([HEADER, *(f"{number}\t{_prediction(answer)}" for number, answer in enumerate(answers))]) + "\n"


def _prediction(answer: Answer) -> str:
    return answer["label"] if "label" in answer else f"{min(max(answer['score'], LOWEST_SCORE), HIGHEST_SCORE):.3f}"
