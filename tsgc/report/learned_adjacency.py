"""The adjacency that a network learned, drawn on a resting body seen from the front."""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from pipelines.skeleton import Skeleton
from tsgc.drawing.rest_pose import resting_body

EDGES = 12  # strongest changes drawn of each matrix
WIDTH, HEIGHT = 220, 300  # of one drawing
STARTS = ("identity", "inward", "outward")  # what the three matrices of a block start from


@dataclass(frozen=True)
class LearnedEdge:
    """A learned change: how much more joint `source` contributes to joint `target`."""

    target: int
    source: int
    change: float


def strongest(learned: np.ndarray, start: np.ndarray, most: int = EDGES) -> list[LearnedEdge]:
    """The largest changes of a matrix (V, V), [target, source], against its start; largest first."""
    change = learned.astype(np.float64) - start
    order = np.argsort(-np.abs(change), axis=None, kind="stable")[:most]
    targets, sources = np.unravel_index(order, change.shape)
    edges = [LearnedEdge(int(u), int(v), float(change[u, v])) for u, v in zip(targets, sources)]
    return [edge for edge in edges if edge.change]


def draw_adjacency(skeleton: Skeleton, edges: list[LearnedEdge], largest: float, label: str) -> Markup:
    """A drawing of edges on the resting body, their width relative to `largest`; strong ones on top."""
    points, parts = resting_body(skeleton, WIDTH, HEIGHT)
    parts += [
        Markup('<circle class="joint" cx="{:.1f}" cy="{:.1f}" r="2.2"/>').format(x, y) for x, y in points
    ]
    parts += [_edge(skeleton, points, edge, largest) for edge in reversed(edges)]
    return Markup('<svg class="body" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, label, Markup("").join(parts)
    )


def _edge(skeleton: Skeleton, points: np.ndarray, edge: LearnedEdge, largest: float) -> Markup:
    """A bent arrow from source to target; a ring for a joint's edge to itself."""
    source, target = points[edge.source], points[edge.target]
    strength = abs(edge.change) / largest if largest else 0.0
    width = 0.8 + 3.2 * strength
    sign = "more" if edge.change > 0 else "less"
    title = f"{skeleton.joints[edge.source]} → {skeleton.joints[edge.target]}: {edge.change:+.4f}"
    if edge.source == edge.target:
        shape = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="6.5" stroke-width="{:.1f}"/>').format(
            *source, width
        )
    else:
        along = target - source
        length = max(float(np.hypot(*along)), 1e-9)
        middle = (source + target) / 2 + np.array([-along[1], along[0]]) * 0.18
        tangent = (target - middle) / max(float(np.hypot(*(target - middle))), 1e-9)
        normal = np.array([-tangent[1], tangent[0]])
        head = min(4 + 1.6 * width, 0.6 * length)
        back = target - tangent * head
        wings = (*(back + normal * head * 0.45), *(back - normal * head * 0.45))
        shape = Markup(
            '<path d="M{:.1f},{:.1f} Q{:.1f},{:.1f} {:.1f},{:.1f}" stroke-width="{:.1f}"/>'
            '<path class="head" d="M{:.1f},{:.1f} L{:.1f},{:.1f} L{:.1f},{:.1f} Z"/>'
        ).format(*source, *middle, *back, width, *target, *wings)
    return Markup('<g class="edge {}"><title>{}</title>{}</g>').format(sign, title, shape)
