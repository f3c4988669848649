"""Skeletons of one's own: defined in a file, checked where they are read."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import TsgcError
from pipelines.skeleton import SKELETONS, Skeleton
from pipelines.skeleton_definition import definition_of, find_skeleton, parse_definition

HAND = {
    "joints": ["wrist", "thumb", "index", "little"],
    "parents": {"thumb": "wrist", "index": "wrist", "little": "index"},
    "left_right": [["thumb", "little"]],
    "centre": "wrist",
}


@st.composite
def skeletons(draw: st.DrawFn) -> Skeleton:
    joints = draw(st.lists(st.text(min_size=1), min_size=1, max_size=12, unique=True))
    parents = tuple(draw(st.integers(0, joint)) for joint in range(len(joints)))
    order = draw(st.permutations(range(len(joints))))
    pairs = tuple(zip(order[::2], order[1::2]))[: draw(st.integers(0, 6))]
    return Skeleton("made", tuple(joints), parents, pairs, draw(st.integers(0, len(joints) - 1)))


@given(skeleton=skeletons())
def test_a_definition_gives_the_skeleton_back(skeleton: Skeleton) -> None:
    assert find_skeleton("made", definition_of(skeleton)) == skeleton


@pytest.mark.parametrize("name", SKELETONS)
def test_a_skeleton_with_a_name_needs_no_definition(name: str) -> None:
    assert definition_of(SKELETONS[name]) == ""
    assert find_skeleton(name) is SKELETONS[name]


def test_joints_go_by_name_or_by_number() -> None:
    by_name = parse_definition("hand", HAND)
    by_number = parse_definition(
        "hand", HAND | {"parents": [None, 0, 0, 2], "left_right": [[1, 3]], "centre": 0}
    )
    assert by_name == by_number == Skeleton("hand", tuple(HAND["joints"]), (0, 0, 0, 2), ((1, 3),), 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joints": []}, "joints: expected a list of 1 to 512 names"),
        ({"joints": ["a"] * 4}, "names, each once"),
        ({"joints": [1, 2, 3, 4]}, "names, each once"),
        ({"parents": [0, 0, 0]}, "parents: expected 4 joints"),
        ({"parents": None}, "parents: expected 4 joints"),
        ({"parents": [0, 0, 0, 4]}, "4 is no joint, expected a name of `joints` or 0 to 3"),
        ({"parents": [0, 0, 0, True]}, "True is no joint"),
        ({"parents": {"thumb": "elbow"}}, "'elbow' is no joint"),
        ({"parents": [0, 2, 3, 1]}, "leads round in a circle"),
        ({"left_right": [["thumb"]]}, "left_right: expected pairs"),
        ({"left_right": [["thumb", "little"], ["index", "little"]]}, "a joint comes twice"),
        ({"left_right": [["thumb", "thumb"]]}, "a joint comes twice"),
        ({"centre": None}, "None is no joint"),
    ],
)
def test_a_wrong_definition_is_one_line(change: dict, said: str) -> None:
    with pytest.raises(TsgcError, match="skeleton 'hand'") as caught:
        parse_definition("hand", HAND | change)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_known_name_cannot_be_defined_again() -> None:
    with pytest.raises(TsgcError, match="defined already"):
        parse_definition("ntu-25", HAND)
    with pytest.raises(TsgcError, match="defined already"):
        find_skeleton("ntu-25", orjson.dumps(HAND).decode())


def test_an_unknown_name_and_broken_json_are_one_line() -> None:
    with pytest.raises(TsgcError, match="unknown; known: ntu-25"):
        find_skeleton("hand")
    with pytest.raises(TsgcError, match="not JSON"):
        find_skeleton("hand", "{")
    with pytest.raises(TsgcError, match="expected joints, parents, centre"):
        find_skeleton("hand", "[]")


def test_pairs_are_left_first_where_their_names_tell():
    content = {
        "joints": ["neck", "RShoulder", "LShoulder", "a", "b"],
        "parents": {"RShoulder": "neck"},
        "left_right": [["RShoulder", "LShoulder"], ["a", "b"]],
        "centre": "neck",
    }
    assert parse_definition("own", content).left_right == ((2, 1), (3, 4))
