"""Flags that every verb shares: one config file, and any of its keys changed by --config.section.key=value."""

import argparse
from collections.abc import Sequence

ANY_KEY = "any key of the config can be given too: --config.section.key=value"


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """(flags, overrides): the parser's own flags, and every --config.section.key=value as it was typed."""
    overrides = tuple(argument for argument in arguments if argument.startswith("--config."))
    return parser.parse_args([argument for argument in arguments if argument not in overrides]), overrides
