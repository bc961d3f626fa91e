"""Which axes of which parameter are spread over which axes of the mesh: a table of paths, outside the models.

The scheme is that of Megatron-LM (Shoeybi et al. 2019, arXiv 1909.08053, section 3) over "tensor": the first product of attention
and of feed-forward is split by its outputs, the second by its inputs; and that of ZeRO stage 3 (Rajbhandari et al. 2020,
arXiv 1910.02054) over "fsdp": every matrix is stored in parts and gathered where it is used.
"""

import re

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert_jax.errors import UserError

# End of the path -> mesh axes of the last axes of the array; axes before them, such as that of stacked layers, stay whole.
# The first that matches holds.
RULES = (
    (r"word/embedding", ("tensor", "fsdp")),
    (r"embedding", (None, "fsdp")),
    (r"(query|key|value|intermediate|gate)/kernel", ("fsdp", "tensor")),
    (r"(query|key|value|intermediate|gate)/bias", ("tensor",)),
    (r"output/kernel", ("tensor", "fsdp")),
    (r"recurrent_kernel", (None, None)),  # used at every step of a loop over the row
    (r"kernel", ("fsdp", None)),
    (r"transitions", (None, None)),  # of tags, a few numbers
    (r"masked_lm/bias", ("tensor",)),
    (r"bias|scale|given|start|end|layer_weights", (None,)),
)


def shardings(tree, mesh: Mesh):
    """A NamedSharding for each leaf of a state or of params, by the end of its path: Adam's moments lie like their parameters.

    Numbers, and everything on a mesh that only splits rows, are whole on each device; so is an axis that does not divide.

    Raises:
        UserError: there are arrays that no rule covers; it lists them.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    splits = any(mesh.shape[axis] > 1 for axis in ("fsdp", "tensor"))
    uncovered = [_name(path) for path, leaf in leaves if splits and np.ndim(leaf) and _rule(path) is None]
    if uncovered:
        raise UserError(
            "parallel.fsdp and parallel.tensor do not know how to split some parameters",
            got=", ".join(uncovered),
            expected="a path that ends like one of the table RULES in bert_jax/parallel/rules.py",
            fix="add a line for them there, or set both to 1",
        )
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(_rule(path) if splits else (), np.shape(leaf), mesh)), tree
    )


def gather_tables(params, mesh: Mesh):
    """Params whose embedding tables are no longer spread over "fsdp", as their look-up wants them.

    XLA gathers the matrices by itself; a look-up in a table split by width gives rows split by width, which it then has to copy
    to every device to split them by row.
    """

    def gather(path, leaf):
        if not _name(path).endswith("/embedding"):
            return leaf
        axes = tuple(axis if axis == "tensor" else None for axis in _rule(path))
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, _spec(axes, leaf.shape, mesh)))

    return jax.tree_util.tree_map_with_path(gather, params)


def _name(path) -> str:
    return "/".join(str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", "")))) for entry in path)


def _rule(path) -> tuple | None:
    name = _name(path)
    return next((axes for pattern, axes in RULES if re.search(rf"(^|/)({pattern})$", name)), None)


def _spec(axes: tuple | None, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    if not axes or not shape:
        return PartitionSpec()
    whole = [None] * (len(shape) - len(axes))
    last = [
        axis if axis and mesh.shape[axis] > 1 and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(axes, shape[len(whole) :])
    ]
    spec = [*whole, *last]
    while spec and spec[-1] is None:  # as jax writes what it gives back: equal places then compare equal, and compile once
        spec.pop()
    return PartitionSpec(*spec)
