"""A run's state and weights: saving, and going on from them."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipelines.errors import TsgcError
from tsgc import checkpoint
from tsgc.config import TrainConfig, build_config, settle_window
from tsgc.network.own.code import find_code
from tsgc.networks import NETWORKS
from tsgc.step.distil import check_same
from tsgc.step.optimizer import load_optimizer_state, optimizer_state
from tsgc.training import snapshots
from tsgc.training.changes import changes_said, check_changes
from tsgc.training.run import Training


def save_checkpoint(run: Training, name: str, model: nn.Module, selected_on: str) -> None:
    """Save a network of the run as checkpoints/`name`.safetensors, with its description."""
    path = run.folder / "checkpoints" / f"{name}.safetensors"
    said = checkpoint.describe_weights(
        run.config,
        run.manifest,
        run.pipeline.bodies,
        run.benchmark,
        epoch=run.epoch,
        ema=name.endswith("-ema"),
        selected_on=selected_on,
    )
    checkpoint.save_weights(path, model.state_dict(), said)


def save(run: Training) -> None:
    """Save the state to resume from, and the weights to use."""
    state = {
        "epoch": run.epoch,
        "step": run.step,
        "loss_sum": run.loss_sum,
        "missing": run.missing,
        "figures": run.figures,
        "model": run.model.state_dict(),
        "ema": run.ema.module.state_dict(),
        "optimizer": optimizer_state(run.optimizer),
        "loss_scale": run.train_step.loss_scale.state() if run.train_step.loss_scale else {},
        "best": run.best,
        "manifest": run.manifest.digest,
        "config": dataclasses.asdict(run.config),
        "teachers": run.train_step.teachers.digests if run.train_step.teachers else [],
        "network": checkpoint.network_digest(run.config),
        "network_beside": checkpoint.network_beside(run.config),
    }
    for suffix, model in run.weights.items():
        save_checkpoint(run, f"last{suffix}", model, "none")
        if run.config.keep_every and not run.step and run.epoch % run.config.keep_every == 0:
            save_checkpoint(run, snapshots.weights_name(run.epoch, suffix), model, "none")
    # The state comes last: where it says that an epoch is over, that epoch's weights are there.
    checkpoint.save_state(snapshots.state_path(run.folder), state)
    if not run.step:
        snapshots.retain_state(run.folder, run.epoch, run.config.keep_last)


def newest_state(folder: Path, device: torch.device, mmap: bool = False) -> dict[str, Any]:
    """A run's state; where it cannot be read, the error says which older ones could take its place."""
    path = snapshots.state_path(folder)
    try:
        return checkpoint.load_state(path, device, mmap)
    except TsgcError as error:
        older = snapshots.older_states(folder)
        if not older:
            raise
        names = ", ".join(found.name for found in older)
        raise TsgcError(f"{error}; older states are there ({names}): rename one to {path.name}") from None


def check_network(folder: Path, config: TrainConfig) -> None:
    """Refuse to go on with code of one's own network that is not what the run in `folder` was started with.

    It is not run before: the state says its SHA-256.
    """
    if config.network in NETWORKS:
        return
    state = newest_state(folder, torch.device("cpu"), mmap=True)  # no tensor of it is read
    digest, name = state.get("network", ""), state["config"].get("network", config.network)
    ours = checkpoint.network_digest(config)
    if digest and digest != ours:
        why = "it has changed since"
        if config.network != name:
            why = "it is another, or has changed since"
        raise TsgcError(
            f"{snapshots.state_path(folder)}: started with {name} of sha256 {digest[:12]}, now"
            f" {config.network} of {ours[:12]}: {why}; give the run's own copy in {folder / 'network'}, or"
            " start with --overwrite"
        )
    code = find_code(config.network, "", "the settings")
    if said := code.changed(state.get("network_beside", {})):
        raise TsgcError(
            f"{snapshots.state_path(folder)}: started with {name} and {said}; give the run's"
            f" own copies in {folder / 'network'}, or start with --overwrite"
        )


def restore(run: Training) -> list[str]:
    """Go on from the state that `save` left; returns a line on each change of the settings.

    Settings that may not change, other teachers, or other shards raise TsgcError.
    """
    path = snapshots.state_path(run.folder)
    state = newest_state(run.folder, run.process.device)
    if state["manifest"] != run.manifest.digest:
        raise TsgcError(f"{path}: the shards have changed since; resuming needs the same ones")
    # Settings that came after an earlier state were off in it, as they are by default.
    before = settle_window(TrainConfig(), remote=bool(run.manifest.url))
    started = build_config({**dataclasses.asdict(before), **state["config"]}, str(path))
    check_changes(started, run.config, state["epoch"] + bool(state["step"]), path)
    check_same(state.get("teachers", []), run.train_step.teachers, path)
    run.model.load_state_dict(state["model"])
    run.ema.module.load_state_dict(state["ema"])
    load_optimizer_state(run.optimizer, state["optimizer"])
    if run.train_step.loss_scale is not None:
        run.train_step.loss_scale.load(state["loss_scale"])
    run.train_step.reset()
    run.epoch, run.step, run.loss_sum, run.best = (
        state[name] for name in ("epoch", "step", "loss_sum", "best")
    )
    run.missing = state.get("missing", 0)
    run.figures = state.get("figures", {})
    return changes_said(started, run.config, run.position, run.loader.steps_per_epoch)
