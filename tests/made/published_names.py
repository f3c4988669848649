"""The published names of CTR-GCN's and ST-GCN++'s weights, and ours that hold them."""

import torch

NORM = ("weight", "bias", "running_mean", "running_var")


def ctrgcn_from_published(state):
    """Our state dict from one with the published names: what stands side by side there is one tensor here."""
    ours = _norm(state, ["data_bn"], "input_norm") | _same(state, "fc", "head")
    for number in range(10):
        unit, place = f"l{number + 1}", f"units.{number}"
        ours |= _refined_graph(state, f"{unit}.gcn1", f"{place}.graph")
        branches = f"{unit}.tcn1.branches"
        ours |= _branches(state, branches, [f"{branch}.0" for branch in range(4)], f"{place}.temporal.0")
        last = ("0.3.bn", "1.3.bn", "2.4", "3.1")
        ours |= _norm(state, [f"{branches}.{name}" for name in last], f"{place}.temporal.1")
        ours |= _shortcut(state, f"{unit}.gcn1.down", ("0", "1"), f"{place}.graph.shortcut")
        ours |= _shortcut(state, f"{unit}.residual", ("conv", "bn"), f"{place}.residual")
    return ours


def stgcnpp_from_published(state):
    """Our state dict from one with PYSKL's names."""
    ours = _norm(state, ["backbone.data_bn"], "input_norm") | _same(state, "cls_head.fc_cls", "head")
    for number in range(10):
        unit, place = f"backbone.gcn.{number}", f"units.{number}"
        ours[f"{place}.graph.graphs"] = state[f"{unit}.gcn.A"]
        ours |= _pointwise(state, [f"{unit}.gcn.conv"], f"{place}.graph.transform")
        ours |= _norm(state, [f"{unit}.gcn.bn"], f"{place}.graph.norm")
        begin = [*(f"{branch}.0" for branch in range(5)), "5"]
        ours |= _branches(state, f"{unit}.tcn.branches", begin, f"{place}.temporal.0")
        ours |= _norm(state, [f"{unit}.tcn.transform.0"], f"{place}.temporal.1")
        ours |= _pointwise(state, [f"{unit}.tcn.transform.2"], f"{place}.temporal.3")
        ours |= _norm(state, [f"{unit}.tcn.bn"], f"{place}.temporal.4")
        ours |= _shortcut(state, f"{unit}.gcn.down", ("0", "1"), f"{place}.graph.shortcut")
        ours |= _shortcut(state, f"{unit}.residual", ("conv", "bn"), f"{place}.residual")
    return ours


def _refined_graph(state, theirs, ours):
    convs = [[f"{theirs}.convs.{subset}.conv{number}" for subset in range(3)] for number in (1, 2, 3, 4)]
    found = {f"{ours}.graphs": state[f"{theirs}.PA"], f"{ours}.alpha": state[f"{theirs}.alpha"]}
    found |= _pointwise(state, [*convs[0], *convs[1]], f"{ours}.embed")
    found |= _pointwise(state, convs[2], f"{ours}.transform")
    found |= _pointwise(state, convs[3], f"{ours}.refine")
    return found | _norm(state, [f"{theirs}.bn"], f"{ours}.norm")


def _branches(state, theirs, begin, ours):
    """Branches that begin with the 1x1 convolutions `begin`; the last two have no convolution over time."""
    found = _pointwise(state, [f"{theirs}.{name}" for name in begin], f"{ours}.enter")
    found |= _norm(state, [f"{theirs}.{branch}.1" for branch in range(len(begin) - 1)], f"{ours}.enter_norm")
    for branch in range(len(begin) - 2):
        found |= _same(state, f"{theirs}.{branch}.3.conv", f"{ours}.convolutions.{branch}")
    return found


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


def _same(state, theirs, ours):
    return {f"{ours}.{end}": state[f"{theirs}.{end}"] for end in ("weight", "bias")}
