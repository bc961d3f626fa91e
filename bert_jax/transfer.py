"""Parameters from one model to another: what both have is taken over, and the rest is named."""

from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from bert_jax.errors import UserError


class Transfer(NamedTuple):
    """What a model gets from another one; parts are named by the shortest paths that cover them.

    Attributes:
        params: of the tensors that both have, those of the other.
        loaded: the parts taken over.
        new: the parts that the other does not have.
        left_over: the parts that only the other has.
    """

    params: dict
    loaded: list[str]
    new: list[str]
    left_over: list[str]

    def describe(self) -> str:
        parts = {"loaded": self.loaded, "drawn from the seed": self.new, "left over": self.left_over}
        return "; ".join(f"{name}: {', '.join(paths) or 'nothing'}" for name, paths in parts.items())


def transfer(given: dict, wanted: dict, *, source: object, only: tuple[str, ...] = ()) -> Transfer:
    """
    Args:
        given: params of a trained model.
        wanted: params, or their shapes, of the model to be trained.
        source: where `given` is from, for messages.
        only: top names of what is taken over where both have it; () for everything.

    Raises:
        UserError: a tensor has another shape in the two, or they have none in common.
    """
    given, wanted = flatten_dict(given), flatten_dict(wanted)
    common = {path for path in given.keys() & wanted.keys() if not only or path[0] in only}
    for path in sorted(common):
        if np.shape(given[path]) != np.shape(wanted[path]):
            raise UserError(
                f"{'/'.join(path)} of {source} has another shape",
                got=list(np.shape(given[path])),
                expected=f"{list(np.shape(wanted[path]))}, by the section model",
                fix="give the section model of the run it comes from",
            )
    if not common:
        raise UserError(f"{source} has no parameter of this model", got=", ".join(_parts(given.keys(), given.keys())))
    everywhere = given.keys() | wanted.keys()
    named = [_parts(paths, everywhere) for paths in (common, wanted.keys() - common, given.keys() - common)]
    return Transfer(unflatten_dict({path: given[path] for path in common}), *named)


def _parts(paths: set[tuple[str, ...]], among: set[tuple[str, ...]]) -> list[str]:
    """The shortest beginnings of these paths under which lies none of the others."""

    def part(path):
        depths = range(1, len(path) + 1)
        return next(path[:depth] for depth in depths if all(other in paths for other in among if other[:depth] == path[:depth]))

    return sorted({"/".join(part(path)) for path in paths})
