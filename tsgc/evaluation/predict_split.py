"""Logits of a whole split, in order."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from pipelines.errors import TsgcError
from shards.loader import EvalLoader
from tsgc.console import Count, no_count
from tsgc.distributed.preemption import PreemptedError, StopRequest
from tsgc.distributed.process import Process
from tsgc.input.pipeline import InputPipeline
from tsgc.input.tta import PLAIN, View
from tsgc.network.cpu_memory import keep_memory
from tsgc.network.precision import agreed, for_recognition
from tsgc.networks import OURS
from tsgc.step.forward_graphs import ForwardGraphs


def num_classes(model: nn.Module) -> int:
    """K of a network's logits (N, K)."""
    count = model.num_classes
    assert isinstance(count, int)
    return count


@torch.inference_mode()
def predict_split(
    models: Mapping[str, nn.Module],
    loader: EvalLoader,
    pipeline: InputPipeline,
    process: Process,
    advance: Count = no_count,
    seen_as: Sequence[View] = (PLAIN,),
    forward: ForwardGraphs | None = None,
    stop: StopRequest | None = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Logits (N, K) of every model for every clip of the loader's split, the same on every rank.

    With several views (`seen_as`) they are means over these. The second result says which clips could be
    read, (N,) bool: all of them unless the loader skips damaged ones. `forward` keeps what it captures from
    call to call; default: one of this call's. Raises TsgcError where no clip could be read or logits are not
    finite, and PreemptedError on all ranks where `stop` was requested on one before its last batch.

    Each rank fills in the rows of its own batches; all other rows are 0, so the sum over ranks is exact.
    """
    keep_memory(process.device)
    rows = len(loader.clips)
    logits: dict[str, torch.Tensor] = {}
    read = torch.zeros(rows, device=process.device)
    done, broken_off = 0, False
    if forward is None:
        config = pipeline.config
        chosen = for_recognition(config.precision, process.device, config.network == OURS)
        precision = agreed(chosen, process)
        forward = ForwardGraphs(precision, process.device, sizes=(pipeline.config.eval_batch,))
    forward.renew()
    for batch in loader:
        if broken_off := stop is not None and stop.requested:
            break
        inputs = [pipeline.test(batch, process.device, view) for view in seen_as]
        there = pipeline.bodies_there(batch)
        indices = batch.indices.to(process.device)
        for name, model in models.items():
            parts = [forward(model, x, presence, there) for x, presence in inputs]
            part = torch.stack(parts).mean(0) if len(parts) > 1 else parts[0]
            if name not in logits:
                logits[name] = part.new_zeros(rows, part.shape[1])
            logits[name][indices] = part
        read[indices] += 1
        done += len(indices)
        advance(min(done * process.world, rows), rows)
    if stop is not None and process.sum(torch.tensor(float(broken_off), device=process.device)):
        raise PreemptedError("asked to stop while scoring")
    for name, model in models.items():  # a rank without a batch still takes part in the sum
        if name not in logits:
            logits[name] = torch.zeros(rows, num_classes(model), device=process.device)
        process.sum(logits[name])
    seen = process.sum(read).cpu().numpy() > 0
    if not seen.any():
        raise TsgcError(f"none of {rows} clips can be read; `tsgc verify` names what is wrong")
    found = {name: part.cpu().numpy() for name, part in logits.items()}
    for name, answers in found.items():
        check_finite(answers, loader.names, name)
    return found, seen


def check_finite(logits: np.ndarray, clips: Sequence[str], weights: str) -> None:
    """Raises TsgcError where logits (N, K) of these clips are not finite; `weights`: whose they are."""
    wrong = np.flatnonzero(~np.isfinite(logits).all(1))
    if len(wrong):
        whose = f" by the weights {weights.lstrip('-')}" if weights else ""
        raise TsgcError(
            f"{len(wrong)} of {len(clips)} clips have logits that are not finite{whose}, the first is"
            f" {clips[wrong[0]]}; did the training diverge?"
        )
