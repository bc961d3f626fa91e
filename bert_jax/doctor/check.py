"""Both parts, one after the other, and what comes out of them: report and exit code."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from bert_jax import config as configs
from bert_jax.command import exit_code
from bert_jax.doctor import corpus
from bert_jax.doctor import hosts as doctor_hosts
from bert_jax.doctor.findings import tell, to_json
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.parallel import hosts

EXIT_FOUND = 1
HOSTS, CORPUS = "hosts", "corpus"


def check(config, workdir: Path, *, only: str | None, against: str, timeout: float, say: Callable[[str], None] = print) -> int:
    """Looks at the hosts, then, if nothing is wrong with them, process 0 looks at the corpus.

    Args:
        only: HOSTS or CORPUS, for that alone.
        against, timeout: see corpus.check and hosts.check.

    Returns:
        EXIT_DONE, or EXIT_FOUND where something is wrong.
    """
    if timeout <= 0:
        raise UserError("--timeout is out of range", got=timeout, expected="more than 0 seconds")
    if "input_file" not in config.data:
        raise UserError("doctor looks at pretraining runs", got="a config without data.input_file", expected="one for `train`")
    place = hosts.place()
    if only != CORPUS:
        checked = doctor_hosts.check(config, workdir, timeout)
        if place.index == 0:
            tell(HOSTS, *checked, say)
        else:
            say(f"process {place.index} of {place.count}: {'see what process 0 says' if checked.findings else 'well'}")
        if checked.findings:
            return EXIT_FOUND
    if only == HOSTS or place.index:
        return EXIT_DONE
    checked = corpus.check(config, workdir, against, say=say)
    tell(CORPUS, *checked, say)
    configs.write_json(Path(workdir) / "report" / "doctor.json", {CORPUS: to_json(checked.findings)})
    return EXIT_FOUND if checked.findings else EXIT_DONE


def run(config, workdir: Path, **options) -> int:
    """check(...), after which one of several processes leaves at once: what hangs in it, or waits for another, ends with it."""
    count = hosts.place().count
    try:
        code = exit_code(lambda: check(config, workdir, **options))
    except BaseException:
        if count == 1:
            raise
        traceback.print_exc()
        code = EXIT_FOUND
    if count > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
