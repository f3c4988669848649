"""Distillation: one stream learns from the mean of several trained networks' answers.

A teacher sees what the student sees, augmented and mixed by the same random numbers, in its own modality.
Its weights are frozen: it is in no optimiser, average, gradient exchange or checkpoint. The student stays one
network that sees one stream. Source: Hinton, Vinyals and Dean (2015), arXiv 1503.02531.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.errors import TsgcError
from shards.manifest import Manifest
from tsgc.checkpoint import Description, check_match, check_unseen, load_model
from tsgc.config import TrainConfig
from tsgc.network.build import Network
from tsgc.network.own.code import UnnamedCodeError
from tsgc.workspace.runs import checkpoint_path

SAME_INPUT = ("frames", "sampling", "align", "centre", "normalise")
"""Settings that make a network's input of a clip; a teacher's must be the student's."""


@dataclass(frozen=True)
class Teacher:
    """A trained network, in eval mode, its weights frozen."""

    path: Path
    model: Network
    modality: str
    digest: str
    """sha256 of its file."""


class Teachers:
    """Trained networks whose mean answer a student of `modality` learns from, at `temperature`."""

    def __init__(self, teachers: Sequence[Teacher], modality: str, temperature: float) -> None:
        self.teachers = list(teachers)
        self.modality, self.temperature = modality, temperature
        channels = {teacher.modality: teacher.model.input_shape[0] for teacher in teachers}
        channels.pop(modality, None)
        self.others = tuple(channels)
        """The modalities that the teachers see and the student does not, in which they are given."""
        self._channels = list(channels.values())

    @property
    def digests(self) -> list[str]:
        """The sha256 of each teacher's file."""
        return [teacher.digest for teacher in self.teachers]

    @property
    def files(self) -> dict[str, str]:
        """The teachers' files, and each one's sha256."""
        return {str(teacher.path): teacher.digest for teacher in self.teachers}

    def __str__(self) -> str:
        return ", ".join(teacher.modality for teacher in self.teachers)

    @torch.no_grad()
    def answer(self, x: Tensor, others: Tensor | None, presence: Tensor | None) -> Tensor:
        """The mean of their softmaxes at the temperature, (N, K) float32.

        x (N, C, T, V, M) and `presence` are the student's input, `others` the same in `self.others`, their
        channels side by side.
        """
        given = () if others is None else others.split(self._channels, 1)
        seen: Mapping[str, Tensor] = {self.modality: x, **dict(zip(self.others, given, strict=True))}
        answers = [
            F.softmax(teacher.model(seen[teacher.modality], presence=presence).float() / self.temperature, -1)
            for teacher in self.teachers
        ]
        return torch.stack(answers).mean(0)

    def divergence(self, logits: Tensor, answer: Tensor) -> Tensor:
        """T^2 KL(answer || softmax(logits / T)) at temperature T, summed over clips, in float32.

        T^2 makes its gradient as large as the labels' at any temperature. Of several heads' logits
        (N, heads, K) it is the heads' mean.
        """
        student = F.log_softmax(logits.float() / self.temperature, dim=-1)
        heads = 1
        if logits.dim() == 3:
            heads, answer = logits.shape[1], answer[:, None].expand_as(student)
        return self.temperature**2 * F.kl_div(student, answer, reduction="sum") / heads


def open_teachers(
    config: TrainConfig, manifest: Manifest, bodies: int, device: torch.device
) -> Teachers | None:
    """The teachers that the configuration names, on the device; None where it names none.

    TsgcError where one is missing, or does not see or answer what a student of this data does.
    """
    if not config.teachers:
        return None
    teachers = []
    for name in config.teachers:
        path = checkpoint_path(Path(name), "last", ema=True)
        try:
            model, description = load_model(path)
        except UnnamedCodeError as error:
            raise TsgcError(f"{error} (of a teacher: --teacher-network)") from None
        check_teacher(description, config, manifest, bodies, path)
        model = model.to(device).requires_grad_(False)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        teachers.append(Teacher(path, model, description.config.modality, digest))
    return Teachers(teachers, config.modality, config.distil_temperature)


def check_teacher(
    description: Description, config: TrainConfig, manifest: Manifest, bodies: int, where: Path
) -> None:
    """Refuse a teacher that the student cannot or must not learn from.

    TsgcError for one of other data or of another input, but for the modality; and for one that was selected
    on the test split or, where the student holds clips out, was trained on these.
    """
    check_match(description, manifest, where, "a teacher must be of the same data")
    if description.class_names and description.class_names != list(manifest.class_names):
        raise TsgcError(
            f"{where}: its classes have other names or another order than those of {manifest.benchmark};"
            " a teacher must be of the same data"
        )
    check_unseen(where, description.selected_on, description.config.holdout, config.holdout)
    pairs = {"bodies": (description.bodies, bodies)}
    pairs |= {name: (getattr(description.config, name), getattr(config, name)) for name in SAME_INPUT}
    for what, (found, wanted) in pairs.items():
        if found != wanted:
            raise TsgcError(
                f"{where}: trained with {what}={found}, this run has {wanted};"
                " a teacher must see the same input, but for the modality"
            )


def check_same(found: Sequence[str], teachers: Teachers | None, source: Path) -> None:
    """Refuse to go on with other teachers than those of `source`, known by their files' sha256 (`found`)."""
    ours = teachers.digests if teachers else []
    if list(found) != ours:
        raise TsgcError(
            f"{source}: started with {_count(found)}, now {_count(ours)}, or their files have changed since;"
            " resume with the same teachers, or start with --overwrite"
        )


def _count(digests: Sequence[str]) -> str:
    names = ", ".join(digest[:12] for digest in digests)
    return f"teachers of sha256 {names}" if digests else "no teachers"
