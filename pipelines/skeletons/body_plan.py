"""What a body plan is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """A named body plan of V joints, numbered from 0."""

    name: str
    """The name that files store, such as `ntu-25`."""
    joints: tuple[str, ...]
    """Joint names, in the order of the data."""
    parents: tuple[int, ...]
    """Parent of each joint; the root is its own parent."""
    left_right: tuple[tuple[int, int], ...]
    """Pairs that trade places when the body is mirrored."""
    centre: int
    """The joint that centring moves to the origin."""
    up: str = "y"
    """The axis that points up where such joints come from: `y`, or `-y` in pictures, whose y goes down."""

    @property
    def num_joints(self) -> int:
        return len(self.parents)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) of every bone; the root has none."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if child != parent)


def parents_of(pairs: str, first: int = 0) -> tuple[int, ...]:
    """Parents from `child-parent` pairs counted from `first`; joints without a pair are roots."""
    table = {}
    for pair in pairs.split():
        child, parent = pair.split("-")
        table[int(child) - first] = int(parent) - first
    size = max(max(table), max(table.values())) + 1
    return tuple(table.get(joint, joint) for joint in range(size))


def sides_of(joints: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """(left, right) of every joint called `left ...` whose `right ...` is there too."""
    places = {name: place for place, name in enumerate(joints)}
    pairs = [(name, name.replace("left", "right", 1)) for name in joints if name.startswith("left ")]
    return tuple((places[left], places[right]) for left, right in pairs if right in places)
