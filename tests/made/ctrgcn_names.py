"""The published names of CTR-GCN's weights, and ours that hold them."""

import torch

NORM = ("weight", "bias", "running_mean", "running_var")


def from_published(state):
    """Our state dict from one with the published names: what stands side by side there is one tensor here."""
    ours = {f"input_norm.{end}": state[f"data_bn.{end}"] for end in (*NORM, "num_batches_tracked")}
    ours |= {f"head.{end}": state[f"fc.{end}"] for end in ("weight", "bias")}
    for number in range(10):
        unit, place = f"l{number + 1}", f"units.{number}"
        ours |= _graph(state, f"{unit}.gcn1", f"{place}.graph")
        ours |= _temporal(state, f"{unit}.tcn1.branches", f"{place}.temporal")
        ours |= _shortcut(state, f"{unit}.gcn1.down", ("0", "1"), f"{place}.graph.shortcut")
        ours |= _shortcut(state, f"{unit}.residual", ("conv", "bn"), f"{place}.residual")
    return ours


def _graph(state, theirs, ours):
    convs = [[f"{theirs}.convs.{subset}.conv{number}" for subset in range(3)] for number in (1, 2, 3, 4)]
    found = {f"{ours}.adjacency": state[f"{theirs}.PA"], f"{ours}.alpha": state[f"{theirs}.alpha"]}
    found |= _pointwise(state, [*convs[0], *convs[1]], f"{ours}.embed")
    found |= _pointwise(state, convs[2], f"{ours}.transform")
    found[f"{ours}.refine_weight"] = torch.stack([state[f"{name}.weight"][..., 0, 0] for name in convs[3]])
    found[f"{ours}.refine_bias"] = torch.stack([state[f"{name}.bias"] for name in convs[3]])
    return found | _norm(state, [f"{theirs}.bn"], f"{ours}.norm")


def _temporal(state, theirs, ours):
    found = _pointwise(state, [f"{theirs}.{branch}.0" for branch in range(4)], f"{ours}.0.enter")
    found |= _norm(state, [f"{theirs}.{branch}.1" for branch in range(3)], f"{ours}.0.enter_norm")
    for branch in range(2):
        for end in ("weight", "bias"):
            name = f"{theirs}.{branch}.3.conv.{end}"
            found[f"{ours}.0.convolutions.{branch}.{end}"] = state[name]
    last = [f"{theirs}.0.3.bn", f"{theirs}.1.3.bn", f"{theirs}.2.4", f"{theirs}.3.1"]
    return found | _norm(state, last, f"{ours}.1")


def _shortcut(state, theirs, parts, ours):
    convolution, norm = (f"{theirs}.{part}" for part in parts)
    if f"{convolution}.weight" not in state:
        return {}
    return _pointwise(state, [convolution], f"{ours}.0") | _norm(state, [norm], f"{ours}.1")


def _pointwise(state, theirs, ours):
    return {
        f"{ours}.weight": torch.cat([state[f"{name}.weight"][..., 0, 0] for name in theirs]),
        f"{ours}.bias": torch.cat([state[f"{name}.bias"] for name in theirs]),
    }


def _norm(state, theirs, ours):
    found = {f"{ours}.{end}": torch.cat([state[f"{name}.{end}"] for name in theirs]) for end in NORM}
    return found | {f"{ours}.num_batches_tracked": state[f"{theirs[0]}.num_batches_tracked"]}
