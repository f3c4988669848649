"""What the numbers of a joint are: `xyz` in space, `xys` in a picture, `xyzs` in space; s is a score."""

KNOWN = ("xyz", "xyzs", "xys")


def coordinates(channels: str) -> int:
    """How many of a joint's numbers are coordinates: the first 2 or 3; a score after them is none."""
    return len(channels) - has_score(channels)


def has_score(channels: str) -> bool:
    """Whether the last number of a joint is the detector's score: 0 where it was not seen."""
    return channels.endswith("s")


def in_space(channels: str) -> bool:
    """Whether joints have three coordinates; else they are points of a picture."""
    return coordinates(channels) == 3
