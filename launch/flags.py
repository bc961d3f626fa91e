"""Flags that several verbs share: those of an engine, and any key of the config file as --config.section.key=value."""

import argparse
from collections.abc import Mapping, Sequence

ANY_KEY = "any key of the config can be given too: --config.section.key=value"


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """(flags, overrides): the parser's own flags, and every --config.section.key=value as it was typed."""
    overrides = tuple(argument for argument in arguments if argument.startswith("--config."))
    return parser.parse_args([argument for argument in arguments if argument not in overrides]), overrides


def add(parser: argparse.ArgumentParser, wanted: Mapping[str, tuple[object, str]]) -> None:
    """Adds flags, given as name -> (default, meaning); a flag whose default is False needs no value."""
    for name, (default, meaning) in wanted.items():
        how = {"action": "store_true"} if default is False else {"type": type(default), "default": default}
        parser.add_argument(f"--{name.replace('_', '-')}", help=meaning, **how)
