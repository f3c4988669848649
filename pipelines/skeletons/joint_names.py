"""One word for a joint, however people spell it: `SHOULDER_LEFT`, `LShoulder`, `l_shoulder`, `LeftArm`."""

import re
from collections.abc import Sequence
from functools import cache

SIDES = {"left": "left", "l": "left", "lft": "left", "right": "right", "r": "right", "rgt": "right"}
# The field's words (Kinect v2's), and what sensors, pose estimators and motion capture call the place.
PARTS = {
    "shoulder": ("shoulder", "arm", "upper arm", "up arm", "uarm", "shldr"),
    "elbow": ("elbow", "fore arm", "forearm", "lower arm", "low arm", "larm"),
    "wrist": ("wrist",),
    "hand": ("hand", "palm"),
    "hand tip": ("hand tip", "handtip"),
    "thumb": ("thumb",),
    "hip": ("hip", "up leg", "upper leg", "upleg", "thigh"),
    "knee": ("knee", "leg", "lower leg", "low leg", "shin", "calf"),
    "ankle": ("ankle",),
    "foot": ("foot", "foot index", "toe", "toes", "toe base", "big toe"),
    "heel": ("heel",),
    "collar": ("collar", "clavicle", "collar bone"),
    "eye": ("eye",),
    "ear": ("ear",),
    "spine base": ("spine base", "pelvis", "hips", "hip centre", "mid hip", "root", "spine 0", "hip"),
    "spine middle": ("spine middle", "spine mid", "spine", "spine naval", "spine navel", "torso", "waist",
                     "middle spine", "belly"),
    "spine shoulder": ("spine shoulder", "shoulder centre", "spine chest", "chest", "thorax", "upper spine",
                       "mid shoulder", "spine 3"),
    "neck": ("neck",),
    "head": ("head",),
    "nose": ("nose",),
}  # fmt: skip
# Words that mean another place in a skeleton that has one of these, too: motion capture's LeftShoulder is the
# collar bone, whose child LeftArm is the shoulder; its LeftHand ends the fore arm, its LeftFoot the shin.
BESIDE = {
    ("shoulder", ("arm", "upper arm", "up arm", "uarm")): "collar",
    ("hand", ("fore arm", "forearm")): "wrist",
    ("foot", ("up leg", "upleg", "thigh")): "ankle",
}
_PART = {word: part for part, words in reversed(PARTS.items()) for word in words}
_WORDS = {word for words in PARTS.values() for name in words for word in name.split()}


def common_names(joints: Sequence[str]) -> list[str]:
    """The field's name of each of a skeleton's joints, `left elbow`; what is unknown stays as its own words.

    Left, middle and right are told by words or letters before or after the part, joined or not. Where two
    joints would have one name, the later one keeps its own words.
    """
    said = [_side_and_part(joint) for joint in joints]
    found: list[str] = []
    for side, words in said:
        own = f"{side} {words}".strip()
        name = f"{side} {_part(side, words, {other for at, other in said if at == side})}".strip()
        found.append(own if name in found else name)
    return found


def side_of(joint: str) -> str:
    """`left`, `right`, or nothing for a joint of the middle or of a name that does not tell."""
    return _side_and_part(joint)[0]


def _part(side: str, words: str, of_side: set[str]) -> str:
    for (word, beside), meant in BESIDE.items():
        if side and words == word and of_side & set(beside) and meant not in of_side:
            return meant
    if side and words in ("hip", "hips"):
        return "hip"
    return _PART.get(words, words) if side or words != "hip" else "spine base"


@cache
def _side_and_part(joint: str) -> tuple[str, str]:
    """The side and the part's words, lower-case, one blank between them."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[A-Z][a-z])", " ", joint.split(":")[-1])
    words = re.split(r"[\W_]+", text.lower().replace("center", "centre"))
    words = [part for word in words if word for part in _unjoined(word)]
    side = next((SIDES[word] for word in words if word in SIDES), "")
    rest = [word for word in words if word not in SIDES]
    return side, " ".join(rest) or joint.lower()


def _unjoined(word: str) -> list[str]:
    """`lshoulder`, `leftelbow`: the side and the part."""
    if word in _WORDS or word in SIDES:
        return [word]
    for side in sorted(SIDES, key=len, reverse=True):
        for rest, parts in ((word.removeprefix(side), (side, "")), (word.removesuffix(side), ("", side))):
            if rest != word and rest in _WORDS:
                return [parts[0], rest] if parts[0] else [rest, parts[1]]
    return [word]
