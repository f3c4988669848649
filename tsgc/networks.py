"""The networks that `--network` takes: a table, and names of code of one's own; TSGCNeXt's variants.

Imports no torch: commands that read settings do.

A network is a callable `Net(skeleton, num_classes, *, bodies, channels, frames, **settings) -> nn.Module`
whose forward takes x (N, C, T, V, M) and gives logits (N, num_classes). Where forward has a parameter
`presence` it is given that, (N, T, M) from 0 to 1, or None where every body is there throughout.
"""

import difflib
import re
from dataclasses import dataclass

OURS, SECOND = "tsgcnext", "tsgcnext2"
WITH_VARIANTS = OURS, SECOND
"""The networks that have variants, drop path and layer scale."""


@dataclass(frozen=True)
class NetworkEntry:
    """A network that is named by a word."""

    title: str
    """What tables and pages call it."""
    place: str
    """Where it is defined: `module:class`."""
    source: str
    """The paper that describes it."""


NETWORKS = {
    OURS: NetworkEntry("TSGCNeXt", "tsgc.network.model:TSGCNeXt", "arXiv 2304.11631"),
    SECOND: NetworkEntry("TSGCNeXt2", "tsgc.network.second.model:TSGCNeXt2", "docs/networks.md"),
    "ctrgcn": NetworkEntry("CTR-GCN", "tsgc.network.field.ctrgcn:CTRGCN", "arXiv 2107.12213"),
    "stgcn++": NetworkEntry("ST-GCN++", "tsgc.network.field.stgcnpp:STGCNPP", "arXiv 2205.09443"),
}
"""Networks by the word of `--network`; a new one is a file in tsgc/network and a line here."""

FILE = re.compile(r"(?:.*[/\\])?(?P<stem>[^/\\:]+)\.py:(?P<name>[A-Za-z_]\w*)")
MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def mistaken_network(name: str) -> str:
    """What is expected in the place of `name`, and a near one; empty where it names a network."""
    if name in NETWORKS or FILE.fullmatch(name) or MODULE.fullmatch(name):
        return ""
    near = difflib.get_close_matches(name.lower(), NETWORKS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"one of {', '.join(NETWORKS)}, or your own: FILE.py:NAME, package.module:NAME{hint}"


def recorded_name(name: str) -> str:
    """The name of a network in a run's settings: a file's without its folder."""
    match = FILE.fullmatch(name)
    return f"{match['stem']}.py:{match['name']}" if match else name


def short_name(name: str) -> str:
    """The name in folders and tables: "ctrgcn", "my.Net" of my.py:Net, "package.module.Net"."""
    if match := FILE.fullmatch(name):
        return f"{match['stem']}.{match['name']}"
    return name.replace(":", ".")


def network_title(name: str) -> str:
    """What a page calls it: "CTR-GCN", "my.Net"."""
    return NETWORKS[name].title if name in NETWORKS else short_name(name)


STEM_STRIDE = 4  # frames
DOWN_STRIDE = 2  # frames


@dataclass(frozen=True)
class Variant:
    """Blocks and channels of the three stages."""

    depths: tuple[int, int, int]
    widths: tuple[int, int, int]

    @property
    def min_frames(self) -> int:
        """Frames that leave one step after the last stage."""
        return STEM_STRIDE * DOWN_STRIDE ** (len(self.depths) - 1)


VARIANTS = {
    "252": Variant((2, 5, 2), (96, 192, 384)),
    "432": Variant((4, 3, 2), (96, 192, 384)),
    "tiny": Variant((1, 1, 1), (24, 48, 96)),
    "small": Variant((2, 5, 2), (48, 96, 192)),  # a quarter of 252's parameters, for small data
}

SECOND_VARIANTS = {
    "252": Variant((2, 5, 1), (64, 128, 256)),
    "432": Variant((4, 3, 1), (64, 128, 256)),
    "tiny": Variant((1, 1, 1), (16, 32, 64)),
    "small": Variant((2, 5, 1), (32, 64, 128)),
}
"""TSGCNeXt2's variants by the same names: two thirds of the width, as its blocks see up to four views."""
