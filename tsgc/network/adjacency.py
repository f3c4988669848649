"""The adjacency matrices that a block's learned ones start from."""

import numpy as np

from pipelines.skeleton import Skeleton


def adjacency(skeleton: Skeleton) -> np.ndarray:
    """The three adjacency matrices of a skeleton: identity, inward, outward.

    Returns float32 (3, V, V). Inward has [parent, child] = 1, outward [child, parent] = 1, each
    column divided by its sum; a column without an edge stays 0 (the scheme of ST-GCN, 2018).
    """
    inward = np.zeros((skeleton.num_joints, skeleton.num_joints))
    for child, parent in skeleton.edges:
        inward[parent, child] = 1
    matrices = [np.eye(skeleton.num_joints), _normalise_columns(inward), _normalise_columns(inward.T)]
    return np.stack(matrices).astype(np.float32)


def _normalise_columns(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.maximum(matrix.sum(0), 1)
