"""Both parts of an examination, one after the other, and what comes out of it."""

from collections.abc import Callable
from pathlib import Path

from bert_jax import config as configs
from bert_jax.doctor import corpus
from bert_jax.doctor.findings import tell, to_json
from bert_jax.errors import EXIT_DONE

EXIT_FOUND = 1


def check(config, workdir: Path, *, only: str | None, against: str, timeout: int, say: Callable[[str], None] = print) -> int:
    checked = corpus.check(config, workdir, against, say=say)
    tell("corpus", *checked, say)
    path = Path(workdir) / "report" / "doctor.json"
    configs.write_json(path, {"corpus": to_json(checked.findings)})
    return EXIT_FOUND if checked.findings else EXIT_DONE
