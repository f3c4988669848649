"""Published accuracies on the test splits of known benchmarks, to stand beside one's own."""

from dataclasses import dataclass

PAPER = "arXiv 2304.11631"
TEST_CHOSEN = "best epoch on the test split"


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody published, or that somebody's published code has."""

    benchmark: str
    network: str
    streams: str
    """The streams that were fused, in words."""
    count: int
    """How many they are; 0 where that is not known."""
    top1: float
    """Percent of all test clips."""
    source: str
    note: str = TEST_CHOSEN
    """How the epoch was chosen, and what else limits a comparison."""
    clean: float | None = None
    """Percent of the clips that repeat no training clip, where it is known."""


# Benchmark -> top-1 % of one stream, of two (joint and bone), and of joint and bone of both variants.
_TSGCNEXT: dict[str, tuple[float | None, ...]] = {
    "ntu60/xsub": (92.02, 92.91, 93.16),
    "ntu60/xview": (96.18, 96.87, 96.98),
    "ntu60_hrnet/xsub": (93.65, 94.27, 94.47),
    "ntu60_hrnet/xview": (97.28, 97.76, 97.82),
    "ntu120/xsub": (89.07, 89.98, 90.22),
    "ntu120/xset": (90.32, 91.46, 91.74),
    "nw-ucla/xview": (96.55, 96.77, None),
    "kinetics/official": (36.29, 37.60, 38.09),
}
_STREAMS = (("joint", 1), ("joint + bone", 2), ("joint + bone, two variants", 4))
# Streams of CTR-GCN's published code on NW-UCLA -> top-1 % of all and of the clean clips: docs/results.md.
_CTRGCN = {
    "joint": (93.97, 92.41),
    "bone": (93.10, 91.33),
    "joint_motion": (91.16, 88.89),
    "bone_motion": (86.64, 83.20),
    "joint + bone": (95.69, 94.58),
    "joint + bone + joint_motion + bone_motion": (95.26, 94.04),
}

PUBLISHED: tuple[Published, ...] = (
    *(
        Published(benchmark, "TSGCNeXt", streams, count, top1, PAPER)
        for benchmark, figures in _TSGCNEXT.items()
        for (streams, count), top1 in zip(_STREAMS, figures)
        if top1 is not None
    ),
    *(
        Published(
            "nw-ucla/xview",
            "CTR-GCN",
            streams,
            streams.count("+") + 1,
            top1,
            "its published code, trained once",
            "last epoch, one seed",
            clean,
        )
        for streams, (top1, clean) in _CTRGCN.items()
    ),
    Published("nw-ucla/xview", "CTR-GCN", "4 streams", 4, 96.5, "arXiv 2107.12213"),
    Published("nw-ucla/xview", "SkateFormer", "the best published", 0, 98.3, "its paper"),
    Published("msr-action3d/xsub", "actionlet ensemble", "3D joints", 0, 88.2, "Wang et al., CVPR 2012"),
)


def published_figures(benchmark: str) -> list[Published]:
    """What is known of a benchmark, corrected and aligned forms of its data set included."""
    dataset, _, split = benchmark.partition("/")
    name = f"{dataset.removesuffix('-aligned').removesuffix('-corrected')}/{split}"
    return [figure for figure in PUBLISHED if figure.benchmark == name]


def nearest_published(benchmark: str, network: str, streams: str, count: int) -> Published | None:
    """The figure to stand beside `count` fused `streams` of a network; None: there is none of so many.

    Figures of the very same streams go first, among them that of the same network.
    """
    found = [figure for figure in published_figures(benchmark) if figure.count == count]
    found.sort(key=lambda figure: (figure.streams != streams, _plain(figure.network) != _plain(network)))
    return found[0] if found else None


def _plain(network: str) -> str:
    return network.lower().replace("-", "")
