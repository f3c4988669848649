"""Networks of one's own, as files that a user would write."""

from pathlib import Path

PLAIN = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames, width=8, drop=0.3):
        super().__init__()
        self.embed = nn.Linear(bodies * channels * skeleton.num_joints, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(drop)
        self.out = nn.Linear(width, num_classes)

    def forward(self, x):
        x = x.view(x.shape[0], x.shape[1], x.shape[2], -1)  # (N, C, T, V*M): a view, so x is contiguous
        x = x.transpose(1, 2).flatten(2)  # (N, T, C*V*M)
        x = self.norm(torch.relu(self.embed(x)).mean(1))
        return self.out(self.dropout(x))
"""
"""Linear in each frame, mean over frames, with BatchNorm and dropout; forward takes x alone."""

PRESENCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames):
        super().__init__()
        self.out = nn.Linear(channels * skeleton.num_joints, num_classes)

    def forward(self, x, presence=None):
        here = torch.ones(x.shape[0], *x.shape[2:3], x.shape[4]) if presence is None else presence
        weights = here[:, None, :, None, :] / here.sum((1, 2)).clamp(min=1)[:, None, None, None, None]
        return self.out((x * weights).sum((2, 4)).flatten(1))
"""
"""Mean over the frames and bodies that are there."""

TIED = PLAIN.replace(
    "        self.norm =",
    "        self.again = nn.Linear(width, width)\n        self.more = self.again\n        self.norm =",
).replace(
    "x = self.norm(torch.relu(self.embed(x)).mean(1))",
    "x = self.norm(self.more(self.again(torch.relu(self.embed(x)))).mean(1))",
)
"""The first with two layers that have their weights in common."""

FAULTY = """
import torch
from torch import nn


class Base(nn.Module):
    def __init__(self, skeleton, num_classes, *, bodies, channels, frames):
        super().__init__()
        self.out = nn.Linear(channels, num_classes)
        self.idle = nn.Linear(3, 3)

    def forward(self, x):
        return self.out(x.mean((2, 3, 4)))


class Shape(Base):
    def forward(self, x):
        return super().forward(x)[:, 1:]


class Pair(Base):
    def forward(self, x):
        return super().forward(x), x


class NotANumber(Base):
    def forward(self, x):
        return super().forward(x) / 0


class Raises(Base):
    def forward(self, x):
        return self.out(x)


class Stopped(Base):
    def forward(self, x):
        return super().forward(x).detach()


def number(skeleton, num_classes, **settings):
    return 7


def refuses(skeleton, num_classes, **settings):
    raise ValueError("no such shape for me")


def without_frames(skeleton, num_classes, *, bodies, channels):
    return None
"""
"""Networks with a fault each; all but `Shape` and the like leave `idle` without a gradient."""


def write_network(folder: Path, source: str = PLAIN, name: str = "my.py") -> str:
    """Write a file; what `--network` takes for its `Net`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(source)
    return f"{path}:Net"
