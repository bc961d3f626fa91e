"""python -m bert_jax VERB --config=FILE[:arg] --workdir=FOLDER [--config.section.key=value ...]"""

import argparse
import sys
from pathlib import Path

from bert_jax import buckets
from bert_jax import config as configs
from bert_jax.command import exit_code
from bert_jax.errors import EXIT_DONE, EXIT_RESTART, UserError
from bert_jax.verbs import VERBS, Verb


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bert_jax", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        sub = verbs.add_parser(name, help=verb.help, allow_abbrev=False)
        if verb.needs_config:
            sub.add_argument(
                "--config", required=True, metavar="FILE[:arg]", help="for instance configs/quickstart.py or configs/bert.py:base"
            )
        if verb.needs_workdir:
            sub.add_argument(
                "--workdir", required=True, help="the folder of the run, on a disk or in a bucket: gs://BUCKET/FOLDER"
            )
        for option, settings in verb.options:
            sub.add_argument(option, **settings)
    args, rest = parser.parse_known_args(argv)
    return exit_code(lambda: _run(args, rest))


def _run(args: argparse.Namespace, overrides: list[str]) -> int:
    verb = VERBS[args.verb]
    unknown = [word for word in overrides if not word.startswith("--config.") or not verb.needs_config]
    if unknown:
        raise UserError("unknown argument", got=unknown[0], expected="--config.section.key=value, or an option in --help")
    config = configs.load(args.config, overrides) if verb.needs_config else None
    for key, value in configs.flatten(config.to_dict()) if config else ():
        if isinstance(value, str) and buckets.is_bucket(value) and key != "data.input_file":  # launch.beam may have read that
            raise UserError("only a workdir may lie in a bucket", got=f"{key}={value}", fix="copy it to a disk, and name that")
    if not verb.together:
        return _in_workdir(verb, args, config)
    from bert_jax.parallel import hosts

    return hosts.end_together(lambda: exit_code(lambda: _in_workdir(verb, args, config)), good=(EXIT_DONE, EXIT_RESTART))


def _in_workdir(verb: Verb, args: argparse.Namespace, config) -> int:
    def work(folder: Path) -> int:
        args.workdir = folder
        return verb.run(args, config)

    if not verb.needs_workdir:
        return verb.run(args, config)
    if not buckets.is_bucket(args.workdir):
        return work(Path(args.workdir))
    from bert_jax.parallel import hosts

    return buckets.work(args.workdir, work, writes=not verb.reads_only, index=hosts.place().index)


if __name__ == "__main__":
    sys.exit(main())
