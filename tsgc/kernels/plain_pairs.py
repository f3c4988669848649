"""The plain twin of `pairs`, which needs no Triton."""

import torch
from torch import Tensor

PADDING = 2  # features that are 0: products want numbers that 4 divides
MORE = 2 + PADDING


def plain_pairs(embedded: Tensor, graphs: Tensor, alpha: Tensor) -> Tensor:
    """Features of pairs of joints: of embedded (2, K, F, N, V), graphs (K, V, V) and alpha (1,).

    alpha times tanh of the difference of the two embeddings; alpha; the graph; zeros: (K, F + MORE, N, V, V).
    """
    one, other = embedded.unbind()
    differences = torch.tanh(one[..., :, None] - other[..., None, :])
    K, _, N, V, _ = differences.shape
    alpha = alpha.to(differences.dtype)
    graph = graphs.to(differences.dtype)[:, None, None].expand(K, 1, N, V, V)
    zeros = differences.new_zeros(1).expand(K, PADDING, N, V, V)
    return torch.cat([alpha * differences, alpha.expand(K, 1, N, V, V), graph, zeros], dim=1)
