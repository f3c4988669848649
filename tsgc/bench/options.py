"""What `tsgc bench` is asked for: its options, checked."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pipelines.errors import UsageError
from pipelines.skeleton import SKELETONS
from tsgc import kernels
from tsgc.bench.inputs import Shape
from tsgc.config import parse_settings
from tsgc.distributed.process import pick_device
from tsgc.kernels.cards import card_of, lacking, named_card
from tsgc.modalities import MODALITIES, mistake
from tsgc.network.precision import AUTO, PRECISIONS, fastest, fastest_of
from tsgc.networks import OURS, VARIANTS

MADE_SETTINGS = ("graphs",)  # that hold for made clips: others change the recipe that is timed
BATCH = {"cuda": 128, "cpu": 8}
STEPS = {"cuda": 30, "cpu": 3}
LIKE = "--limit-like "  # what errors of its card begin with


@dataclass(frozen=True)
class TrainOptions:
    """What `tsgc bench train` is asked for."""

    shape: Shape
    device: torch.device
    precision: str
    steps: int
    plain: bool
    compare: bool
    gpus: int
    data: str | None
    settings: tuple[str, ...]
    given_frames: int | None
    trace: bool
    long: bool
    limit_like: str | None = None
    """The GPU for which every rung of kernels is timed."""


def check_shape(
    variant: str,
    skeleton: str,
    frames: int | None,
    bodies: int,
    classes: int,
    batch: int | None,
    precision: str | None,
    steps: int | None,
    device: str | None,
    network: str = OURS,
    settings: Sequence[str] = (),
    modality: str = "joint",
    limit_like: str | None = None,
) -> tuple[Shape, torch.device, str, int]:
    """The options as they are meant; wrong ones raise UsageError.

    With `limit_like` the precision, unless it is given, is what that GPU would choose.
    """
    place = pick_device(device, int(os.environ.get("LOCAL_RANK", 0)))
    for name, value, known in (
        ("variant", variant, VARIANTS),
        ("skeleton", skeleton, SKELETONS),
        ("precision", precision or AUTO, (*PRECISIONS, AUTO)),
    ):
        if value not in known:
            raise UsageError(f"--{name} {value}: expected one of {', '.join(known)}")
    if precision == "tf32" and place.type == "cpu":
        raise UsageError("--precision tf32: an arithmetic of GPUs; on a CPU choose bf16 or float32")
    given = parse_settings(settings).get("network_settings", {})
    if given and network == OURS:
        raise UsageError("--set network.KEY: an argument of a network other than tsgcnext; give --network")
    if unknown := mistake(modality):
        streams = ", ".join(MODALITIES)
        raise UsageError(f"--modality {modality}: {unknown}; expected one of {streams}, or several by +")
    least = VARIANTS[variant].min_frames if network == OURS else 1
    if frames is not None and frames < least:
        raise UsageError(f"--frames {frames}: the network takes {least} or more")
    shape = Shape(
        variant,
        skeleton,
        frames or 256,
        bodies,
        classes,
        batch or BATCH[place.type],
        network,
        given,
        modality,
    )
    if precision in (None, AUTO):
        like = None if limit_like is None else named_card(limit_like, LIKE)
        precision = fastest_of(like.capability) if like else fastest(place, network == OURS)
    return shape, place, precision, steps or STEPS[place.type]


def check_options(options: TrainOptions) -> None:
    """Raise UsageError for options of `tsgc bench train` that do not go together."""
    for key in parse_settings(options.settings):
        if options.data is None and key not in (*MADE_SETTINGS, "network_settings"):
            known = ", ".join(MADE_SETTINGS)
            raise UsageError(f"--set {key}: without --data expected one of {known}")
    others = {"plain": options.plain, "compare": options.compare, "long": options.long}
    if options.limit_like is not None:
        _check_limit(options.limit_like, options.precision, options.device)
        alone = {"data": options.data, "trace": options.trace, "gpus": options.gpus > 1}
        _refuse({**others, **alone}, "--limit-like rungs of kernels alone are")
    if options.data is not None:
        _refuse(others, "--data our own training alone is")
    if options.trace and options.device.type == "cpu":
        raise UsageError("--trace: measures how long a GPU is idle, and there is none here")


def _refuse(others: Mapping[str, object], why: str) -> None:
    for name, given in others.items():
        if given:
            raise UsageError(f"--{name}: with {why} timed; give one of them")


def _check_limit(name: str, precision: str, device: torch.device) -> None:
    """Raise UsageError where the kernels of a card of this name cannot be timed on `device`."""
    card = named_card(name, LIKE)
    if device.type == "cpu":
        raise UsageError(
            "--limit-like: times kernels on a GPU, and there is none here;"
            " docs/performance.md lists what each card gets"
        )
    if not kernels.has_triton():
        raise UsageError("--limit-like: kernels need Triton, which is not installed here")
    if missing := lacking(card_of(device), card):
        raise UsageError(f"--limit-like {name}: needs {missing}; choose a smaller card than this GPU")
    has = {"bf16": torch.bfloat16 in card.types, "tf32": card.multiplies}
    if not has.get(precision, True):
        raise UsageError(
            f"--precision {precision}: {name} has no instructions for it; leave it out"
            f" ({fastest_of(card.capability)} there), or choose float16 or float32"
        )
