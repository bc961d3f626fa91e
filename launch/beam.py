"""Tokenises text beyond one machine, by Apache Beam on any of its runners: the same token store as `python -m bert_jax prepare`.

    python -m launch.beam --config=configs/bert.py:base --workdir=gs://BUCKET/bert --config.text.vocab_file=vocab.txt \\
        --config.data.input_file='gs://BUCKET/text/*.txt.gz' --runner=DataflowRunner --project=... --region=... \\
        --temp_location=gs://BUCKET/tmp --sdk_container_image=IMAGE

writes WORKDIR/store, byte for byte what one machine would write. Every flag that is not named below goes to Beam. First each file
is read to see how it falls into shards; then each shard is written by itself: no text passes between workers. So the work of a
shard is to read its files again, up to where it ends: many files of up to a few hundred MB are better than a few large ones.

Needs an environment of its own, as Beam asks for older packages: see launch/README.md.
"""

import argparse
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bert_jax import config as configs
from bert_jax.command import exit_code
from bert_jax.config import make_folder
from bert_jax.data import shards, sources, store
from bert_jax.data.encode import Encoder
from bert_jax.data.files import clear_folder, new_folder
from bert_jax.data.report import Report
from bert_jax.errors import EXIT_DONE, UserError
from bert_jax.text import kinds
from launch import beam_parts, flags
from launch.beam_parts import Job, Survey

MEBIBYTE = 2**20
SECONDS_BETWEEN_LINES = 20.0
Pipeline = Callable[[Sequence[str], Job], None]  # what brings files and shards to workers


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m launch.beam",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog=flags.ANY_KEY,
    )
    parser.add_argument("--config", required=True, help="a config file, such as configs/bert.py:base")
    parser.add_argument("--workdir", required=True, help="of the run: on a disk that all workers share, or in a bucket")
    parser.add_argument(
        "--shard-mib", type=int, default=shards.SHARD_BYTES // MEBIBYTE, help="so much raw text for a shard, and for a worker"
    )
    overrides = [argument for argument in arguments if argument.startswith("--config.")]
    given, of_beam = parser.parse_known_args([argument for argument in arguments if argument not in overrides])
    config = configs.load(given.config, overrides)
    if given.shard_mib < 1:
        raise UserError("--shard-mib is too small", got=given.shard_mib, expected="1 or more")
    prepare(config, given.workdir, given.shard_mib * MEBIBYTE, pipeline(of_beam))
    return EXIT_DONE


def pipeline(options: Sequence[str]) -> Pipeline:
    """Beam with these flags."""
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        fix = "in an environment of its own, see launch/README.md"
        raise UserError("Apache Beam is not installed", got=sys.executable, fix=fix) from None

    def run(names: Sequence[str], job: Job) -> None:
        with beam.Pipeline(options=PipelineOptions(list(options))) as steps:
            (
                steps
                | "Files" >> beam.Create(list(enumerate(names)))
                | "One file a worker" >> beam.Reshuffle()
                | "Read each" >> beam.Map(beam_parts.survey, job)
                | "As one" >> beam.WithKeys(0)
                | "Know all files" >> beam.GroupByKey()
                | "Of all files" >> beam.Values()
                | "Cut into shards" >> beam.FlatMap(beam_parts.parts, job.given["shard_bytes"])
                | "One shard a worker" >> beam.Reshuffle()
                | "Write each" >> beam.Map(beam_parts.write, job)
            )

    return run


def prepare(config, workdir: str, shard_bytes: int, run: Pipeline, say: Callable[[str], None] = print) -> None:
    """Writes the token store of the config, unless it is there.

    Raises:
        UserError: an input that is not made of files, no vocabulary, bad input, or workers that see other files.
    """
    folder = config.data.store or f"{workdir.rstrip('/')}/store"
    if _exists(f"{folder}/{store.MANIFEST}"):
        say(f"token store: {folder}")
        return
    _require_no_other(folder)
    names, tokenizer = input_files(config.data.input_file), _vocabulary(config, workdir)
    given = shards.settings(
        tokenizer,
        held_out_fraction=config.data.held_out_fraction,
        segmenter=config.data.segmenter,
        on_bad_input=config.data.on_bad_input,
        drop_duplicates=config.data.get("drop_duplicates", False),  # what was written for an earlier version has no such key
        shard_bytes=shard_bytes,
    )
    encoder = Encoder(tokenizer, config.data.segmenter, config.data.on_bad_input)
    with _unfinished(folder) as growing:
        job = Job(growing, config.data.input_format, given, {}, encoder)
        job = job._replace(settled=_settled(names, job))
        say(f"{len(names):,} files ...")
        with _progress(growing, len(names), say):
            run(names, job)
        report = _finish(names, job, sources.description(config.data.input_file, config.data.input_format))
    say(f"tokenised {report.describe()}\ntoken store: {folder}")


def input_files(input_file: str) -> list[str]:
    """The files that data.input_file names, in the order in which one machine reads them."""
    inputs = sources.parse_inputs(input_file)
    if not inputs or any(weight is not None or name.startswith(sources.TFDS) for name, weight in inputs):
        raise UserError(
            "Beam reads files, each once",
            got=f"data.input_file={input_file!r}",
            expected="patterns of files, without weights and without data sets of TensorFlow",
            fix="such text is prepared on one machine, by all its cores: python -m bert_jax prepare",
        )
    here = [name for name, _ in inputs if not beam_parts.is_remote(name)]
    found = {str(path) for path in sources.find_files(here)} if here else set()
    for pattern in (name for name, _ in inputs if beam_parts.is_remote(name)):
        found.update(_remote_files(pattern))
    return sorted(found, key=PurePosixPath)


def _remote_files(pattern: str) -> list[str]:
    files, there = beam_parts.remote(pattern)
    try:
        matches = files.glob(there, detail=True)
    except Exception as error:  # each kind of place raises its own
        matches, reason = {}, f": {type(error).__name__}: {str(error)[:200]}"
    else:
        reason = ""
    named = [files.unstrip_protocol(name) for name, facts in matches.items() if facts["type"] == "file"]
    if not named:
        raise UserError("data.input_file matches no file", got=f"{pattern}{reason}", fix="check the path and the credentials")
    return named


def _vocabulary(config, workdir: str):
    """That of the config, or the one that was learned in the workdir."""
    path = config.text.vocab_file or f"{workdir.rstrip('/')}/{kinds.kind_of(config.text.kind).file_name}"
    if not config.text.vocab_file and (config.init_checkpoint or config.text.new_words or not _exists(path)):
        raise UserError(
            "Beam needs a vocabulary that is there",
            got="text.vocab_file is empty",
            fix="give --config.text.vocab_file; python -m bert_jax vocab learns one, from a part of the text if it is large",
        )
    if not beam_parts.is_remote(path):
        return kinds.load(config.text.kind, path, config.text.do_lower_case)
    kind, (files, there) = kinds.kind_of(config.text.kind), beam_parts.remote(path)
    with tempfile.TemporaryDirectory() as here:
        beside = [str(PurePosixPath(there).with_name(name)) for name in (*kind.beside, *kind.may_be_beside)]
        for name in (there, *filter(files.exists, beside)):
            files.get_file(name, f"{here}/{PurePosixPath(name).name}")
        return kinds.load(config.text.kind, Path(here) / PurePosixPath(there).name, config.text.do_lower_case)


def _exists(name: str) -> bool:
    if not beam_parts.is_remote(name):
        return Path(name).exists()
    files, there = beam_parts.remote(name)
    return files.exists(there)


def _require_no_other(folder: str) -> None:
    """Raises UserError where something lies there that is no unfinished store of Beam: it would be deleted."""
    if not beam_parts.is_remote(folder):
        here = Path(folder)
        others = [path.name for path in here.iterdir()] if here.is_dir() else [here.name] * here.exists()
    else:
        files, there = beam_parts.remote(folder)
        names = files.find(there) if files.exists(there) else []
        inside = (PurePosixPath(name).relative_to(PurePosixPath(there)).parts[0] for name in names)
        others = [name for name in inside if name not in (*shards.SPLITS, shards.RECORDS, store.UNIGRAM_COUNTS)]
    if others:
        raise UserError(
            "there is something else where the store would go", got=f"{folder}: {others[0]}", fix="name another folder"
        )


@contextmanager
def _unfinished(folder: str) -> Iterator[str]:
    """An empty folder for the workers. On a disk it takes its name when the block ends well; in a bucket, where nothing can be
    renamed, a store is one when its manifest is there, which is written last."""
    if not beam_parts.is_remote(folder):
        make_folder(Path(folder).parent)
        with new_folder(Path(folder), "the token store", keep=lambda temporary: False) as temporary:
            clear_folder(temporary)
            shards.make_folders(temporary)
            yield str(temporary)
        return
    files, there = beam_parts.remote(folder)
    if files.exists(there):
        files.rm(there, recursive=True)
    yield folder


def _settled(names: Sequence[str], job: Job) -> dict[str, bool]:
    """Reads the text until it met two different documents."""
    settled, report = {}, Report(job.given["on_bad_input"])
    for name in names:
        for unit in beam_parts.units_of(name, job, report):
            encoded = job.encoder(unit)
            report.merge(encoded.report)
            sides = shards.natural_sides(encoded.digests, job.given["held_out_fraction"])
            shards.settle(settled, encoded.digests, sides)
            if len(settled) == 2:
                return settled
    shards.require_two(settled, report)
    return settled


def _finish(names: Sequence[str], job: Job, source: str) -> Report:
    """Makes a store of the shards."""
    if not beam_parts.is_remote(job.folder):
        return _finish_at_hand(names, job, source, Path(job.folder))
    files, there = beam_parts.remote(job.folder)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shards.make_folders(folder)
        for name in files.ls(f"{there}/{shards.RECORDS}", detail=False):
            files.get_file(name, str(folder / shards.RECORDS / PurePosixPath(name).name))
        report = _finish_at_hand(names, job, source, folder)
        made = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        for name in sorted(made, key=lambda name: name == store.MANIFEST):
            beam_parts.publish(folder / name, job.folder, name)
    files.rm(f"{there}/{shards.RECORDS}", recursive=True)
    return report


def _finish_at_hand(names: Sequence[str], job: Job, source: str, folder: Path) -> Report:
    records = folder / shards.RECORDS
    surveys = beam_parts.told(records, map(beam_parts.survey_name, range(len(names))), "files")
    known = [Survey(number, each["name"], tuple(each["sizes"]), tuple(each["checksums"])) for number, each in enumerate(surveys)]
    planned = beam_parts.parts(known, job.given["shard_bytes"])
    written = beam_parts.told(records, (shards.record_name(part.number) for part in planned), "shards")
    report = Report(job.given["on_bad_input"])
    for each in (*surveys, *written):
        report.merge(Report(**each["report"]))
    shards.finish(folder, job.given, source, written, report)
    return report


@contextmanager
def _progress(folder: str, num_files: int, say: Callable[[str], None]) -> Iterator[None]:
    """Says now and then how many files are read and shards written."""
    over = threading.Event()

    def count(pattern: str) -> int:
        if not beam_parts.is_remote(folder):
            return len(list((Path(folder) / shards.RECORDS).glob(pattern)))
        files, there = beam_parts.remote(folder)
        return len(files.glob(f"{there}/{shards.RECORDS}/{pattern}"))

    def tell() -> None:
        while not over.wait(SECONDS_BETWEEN_LINES):
            say(f"read {count('file-*.json'):,} of {num_files:,} files, wrote {count('shard-*.json'):,} shards")

    thread = threading.Thread(target=tell, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
