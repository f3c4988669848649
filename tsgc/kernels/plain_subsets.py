"""The plain twin of `subsets`, which needs no Triton."""

import torch
from torch import Tensor


def plain_mix(graphs: Tensor, z: Tensor, bias: Tensor | None, turned: bool = False) -> Tensor:
    """The sum over k of graphs (K, C, N, V, V), or (K, V, V) for all, times z (K, C, N, V, T) + bias (K * C).

    `turned`: graphs are transposed. Gives (C, N, V, T).
    """
    if bias is not None:
        z = z + bias.to(z.dtype).view(*z.shape[:2], 1, 1, 1)
    graphs = graphs.mT if turned else graphs
    if graphs.dim() == 3:
        return torch.einsum("kuv,kcnvt->cnut", graphs.to(z.dtype), z).contiguous()
    return torch.bmm(graphs.flatten(0, 2), z.flatten(0, 2)).view_as(z).sum(0)
