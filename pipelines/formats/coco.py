"""Key points as COCO annotates them, and as COCO's results and AlphaPose list them.

`{"images": [{"id", "file_name", "width", "height"}],
"annotations": [{"image_id", "keypoints": [x, y, v, ...]}]}` (cocodataset.org, format-data): pixels, y down; v
is 0 not labelled, 1 labelled but hidden, 2 visible. Programs that write predictions in this form put a score
in the place of v. One file is one clip: every image is a frame, in the order of the numbers in the file
names, else of the ids.

AlphaPose (MVIG-SJTU/AlphaPose, its page on output) and COCO's results are one flat list: `[{"image_id":
"12.jpg", "category_id": 1, "keypoints": [x, y, score, ...], "score": 2.9, "idx": 1}, ...]`; images without
anybody are not in it; `idx` names the person where people were followed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.parts import (
    check_joints,
    entries,
    in_order,
    last_number,
    numbers,
    person_id,
    scored,
)
from pipelines.formats.recording import Body, Recording
from pipelines.reading.json_file import parse_loose
from pipelines.skeleton import Skeleton

LABELS = (0, 1, 2)  # v: not labelled, hidden, visible
Key = str | int


def is_coco(source: str, content: Any) -> bool:
    """Whether JSON is COCO's annotations, of key points."""
    found = content.get("annotations") if isinstance(content, dict) else None
    return isinstance(found, list) and any("keypoints" in one for one in found if isinstance(one, dict))


def is_flat(source: str, content: Any) -> bool:
    """Whether JSON is a flat list of people, as AlphaPose writes it."""
    if not isinstance(content, list) or not content or not all(isinstance(one, dict) for one in content):
        return False
    return all("image_id" in one and "keypoints" in one for one in content[:8])


def read_flat(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip of AlphaPose's; frames by the last number in `image_id`. Raises TsgcError: no such JSON."""
    frames: dict[int, list[Body]] = {}
    for person in entries(source, "the file", parse_loose(source, data)):
        key = _image(source, person)
        number = key if isinstance(key, int) else last_number(key)
        if number is None:
            raise TsgcError(f"{source}: image_id {key!r} has no number, expected such as 12.jpg")
        points = _points(source, person, skeleton)
        frames.setdefault(number, []).append(Body(*scored(points), person_id(person.get("idx"))))
    return Recording(in_order(source, frames))


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip of annotations. Raises TsgcError: no such JSON, images of several videos or sizes in it."""
    content = parse_loose(source, data)
    if not isinstance(content, dict):
        raise TsgcError(f"{source}: no `annotations`, expected COCO key points")
    people = entries(source, "`annotations`", content.get("annotations"))
    images = entries(source, "`images`", content.get("images", []))
    points = [_points(source, person, skeleton) for person in people]
    bodies = _labelled(points) if _are_labels(points) else [scored(one) for one in points]
    frames: dict[int, list[Body]] = {}
    order = _order(source, images)
    if images:
        frames = {number: [] for number in range(len(images))}
    for person, (joints, scores) in zip(people, bodies):
        key = _image(source, person)
        number = order.get(key) if images else key
        if not isinstance(number, int):
            raise TsgcError(f"{source}: image_id {key!r} is none of `images`; get the file again")
        name = person_id(person.get("track_id", person.get("person_id")))
        frames.setdefault(number, []).append(Body(joints, scores, name))
    return Recording(in_order(source, frames), size=_size(source, images))


def _image(source: str, person: dict[str, Any]) -> Key:
    key = person.get("image_id")
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TsgcError(f"{source}: image_id is {str(key)[:40]!r}, expected a name or a number")
    return key


def _points(source: str, person: dict[str, Any], skeleton: Skeleton) -> np.ndarray:
    points = numbers(source, "`keypoints`", person.get("keypoints"), 3)
    check_joints(source, len(points), skeleton.num_joints, skeleton.name)
    return points


def _are_labels(points: Sequence[np.ndarray]) -> bool:
    """Whether the third numbers of all people are 0, 1 and 2, and so no scores."""
    return all(np.isin(one[:, 2], LABELS).all() for one in points)


def _labelled(points: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Joints and scores of people who were labelled: 1 for a joint in sight, a half for a hidden one."""
    return [scored(np.concatenate([one[:, :2], one[:, 2:] / 2], axis=1)) for one in points]


def _order(source: str, images: Sequence[dict[str, Any]]) -> dict[Key, int]:
    """Image id -> frame. Raises TsgcError: an id twice or missing, images of several videos."""
    ids = [_image(source, {"image_id": image.get("id")}) for image in images]
    if again := [key for key, count in Counter(ids).items() if count > 1]:
        raise TsgcError(f"{source}: image id {again[0]!r} comes twice; get the file again")
    names = [str(image.get("file_name", "")) for image in images]
    folders = {name.rpartition("/")[0] for name in names}
    videos = {str(image["video_id"]) for image in images if "video_id" in image}
    if len(folders) > 1 or len(videos) > 1:
        raise TsgcError(
            f"{source}: images of {max(len(folders), len(videos))} videos, expected one clip a file; write"
            " one file for each"
        )
    counted = [last_number(name.rpartition("/")[2]) for name in names]
    distinct = None not in counted and len(set(counted)) == len(counted)
    places = sorted(range(len(ids)), key=lambda at: counted[at] or 0 if distinct else _sortable(ids[at]))
    return {ids[place]: frame for frame, place in enumerate(places)}


def _sortable(key: Key) -> tuple[bool, int, str]:
    return (False, key, "") if isinstance(key, int) else (True, 0, key)


def _size(source: str, images: Sequence[dict[str, Any]]) -> tuple[float, float] | None:
    """Width and height of all pictures; None where the file has none. Raises TsgcError: several sizes."""
    sizes = {(float(image["width"]), float(image["height"])) for image in images if _is_size(image)}
    if len(sizes) > 1:
        raise TsgcError(f"{source}: pictures of {len(sizes)} sizes, expected the frames of one video")
    return next(iter(sizes), None)


def _is_size(image: dict[str, Any]) -> bool:
    return all(type(image.get(key)) in (int, float) and image[key] > 0 for key in ("width", "height"))
