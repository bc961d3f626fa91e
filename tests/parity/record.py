"""Records what torch computes on the case, for machines without torch:  python -m tests.parity.record"""

import numpy as np

from tests.parity import case, theirs
from tests.parity.test_encoder import GOLDENS


def main():
    for layers in (2, 12):
        shapes = theirs.shapes(theirs.model(layers, case.SIZES))
        bert = theirs.model(layers, case.SIZES, case.weights_by_rule(shapes))
        found = theirs.outputs_and_gradients(bert, case.batch())
        kept = {name: array for name, array in found.items() if not name.startswith("gradient/")}
        gradients = {name: array for name, array in found.items() if name.startswith("gradient/")}
        # one projection of each gradient instead of all of it: small to keep, and any wrong tensor moves it
        kept |= {name: np.stack([np.vdot(array, array), array.ravel() @ probe(array.size)]) for name, array in gradients.items()}
        kept["shapes"] = np.array([f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items()])
        np.savez_compressed(GOLDENS / f"bert_{layers}_layers.npz", **kept)


def probe(size: int) -> np.ndarray:
    return np.cos(np.arange(size, dtype=np.float64) * 1.7)


if __name__ == "__main__":
    main()
