"""The network of a run's settings: TSGCNeXt, another one of the table, or one's own."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from pipelines.errors import TsgcError
from pipelines.skeleton import Skeleton
from tsgc.modalities import parts
from tsgc.network.model import TSGCNeXt
from tsgc.network.own.code import described, find_code
from tsgc.network.own.wrapped import Wrapped, wrap
from tsgc.networks import NETWORKS, OURS, SECOND
from tsgc.train_config import TrainConfig

Network = TSGCNeXt | Wrapped


def build_network(
    config: TrainConfig,
    skeleton: Skeleton,
    num_classes: int,
    *,
    bodies: int,
    channels: int,
    digest: str = "",
    beside: Mapping[str, str] | None = None,
    where: str = "",
    drop_path: float | None = None,
) -> Network:
    """The network that `config` names, for clips of `bodies` with `channels`; its weights as it starts.

    `digest`: SHA-256 of the file of one's own network, where a checkpoint says it, and `beside` of what that
    imports from its folder; `where`: the file that errors name. Raises TsgcError: code that may not run or
    has changed (`tsgc.network.own.code`), wrong settings.
    """
    if config.network == OURS:
        return TSGCNeXt(
            skeleton,
            num_classes,
            variant=config.variant,
            bodies=bodies,
            channels=channels,
            drop_path=config.drop_path if drop_path is None else drop_path,
            layer_scale=config.layer_scale,
        )
    make = network_code(config.network, digest, where or "the settings", beside)
    settings = config.network_settings
    if config.network == SECOND:
        settings = second_settings(config, config.drop_path if drop_path is None else drop_path)
    try:
        made = make(
            skeleton,
            num_classes,
            bodies=bodies,
            channels=channels,
            frames=config.frames,
            **settings,
        )
    except TsgcError:
        raise
    except Exception as error:
        given = "".join(f", {name}={value!r}" for name, value in config.network_settings.items())
        raise TsgcError(
            f"network {config.network}: it could not be made for {skeleton.num_joints} joints, {num_classes}"
            f" classes, bodies={bodies}, channels={channels}, frames={config.frames}{given}:"
            f" {described(error)}"
        ) from error
    shape = (channels, skeleton.num_joints, bodies)
    return wrap(made, config.network, num_classes, input_shape=shape, frames=config.frames)


def second_settings(config: TrainConfig, drop_path: float) -> dict[str, Any]:
    """The arguments of TSGCNeXt2, some of them settings of a run. Raises TsgcError: one given twice."""
    given = {
        "views": len(parts(config.modality)),
        "variant": config.variant,
        "drop_path": drop_path,
        "layer_scale": config.layer_scale,
    }
    for name in given.keys() & config.network_settings.keys():
        place = "the modality, a view for each that + joins" if name == "views" else f"the setting {name}"
        value = config.network_settings[name]
        raise TsgcError(f"network.{name} is {value!r}: {config.network} takes it from {place}; leave it out")
    return {**given, **config.network_settings}


def network_code(
    name: str, digest: str = "", where: str = "", beside: Mapping[str, str] | None = None
) -> Callable[..., Any]:
    """The class of a network: of the table, or of code that the user has admitted."""
    if name not in NETWORKS:
        return find_code(name, digest, where, beside).make
    module, _, attribute = NETWORKS[name].place.partition(":")
    made: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return made
