"""Graphs that the network learned."""

from typing import Any

from tsgc.report import learned_adjacency
from tsgc.report.gather import Gathered
from tsgc.report.section import Report, Section, section


def graphs(report: Report) -> Section:
    return section(
        "graphs",
        "Learned graphs",
        groups=report.groups,
        several=report.several,
        adjacency={group.label: adjacency_rows(group.first) for group in report.groups},
        edges=learned_adjacency.EDGES,
    )


def adjacency_rows(run: Gathered) -> list[dict[str, Any]]:
    """Drawings of each block's learned adjacency, with the block's largest change."""
    if run.adjacency is None:
        return []
    skeleton = run.adjacency.description.body
    rows = []
    for (stage, block), learned in run.adjacency.learned.items():
        edges = [
            learned_adjacency.strongest(matrix, start) for matrix, start in zip(learned, run.adjacency.start)
        ]
        largest = max((abs(edge.change) for changes in edges for edge in changes), default=0.0)
        drawings = []
        for name, changes in zip(learned_adjacency.STARTS, edges):
            label = f"Stage {stage + 1}, block {block + 1}, graph that started as {name}"
            drawings.append((name, learned_adjacency.draw_adjacency(skeleton, changes, largest, label)))
        rows.append({"stage": stage + 1, "block": block + 1, "largest": largest, "drawings": drawings})
    return rows
