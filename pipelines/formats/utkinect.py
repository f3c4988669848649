"""UTKinect-Action3D: one text a recording, and one list that says which frames of it are which action.

`joints/joints_s01_e01.txt` has a line a frame, its number and x, y, z of the 20 joints of the first Kinect,
in that sensor's order, metres, y up; `actionLabel.txt` has for each recording its name and then lines such as
`walk: 252 390`, first and last frame (Xia, Chen and Aggarwal, 2012). Each action is a clip, called
`walk/s01_e01`, so that its folder names its class. An action whose frames the list gives as NaN is a bad
clip.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import TsgcError
from pipelines.formats.kinect_text import text_table
from pipelines.formats.parts import in_order
from pipelines.formats.recording import Body, Recording
from pipelines.reading.sources import RawFile, walk_files
from pipelines.skeleton import KINECT1_20, Skeleton

V = KINECT1_20.num_joints
LIST = "actionLabel.txt"
FILE = re.compile(r"joints_(?P<recording>s\d\d_e\d\d)\.txt", re.IGNORECASE)
ACTION = re.compile(r"(?P<action>\w+)\s*:\s*(?P<first>\w+)\s+(?P<last>\w+)")
RECORDING = re.compile(r"s\d\d_e\d\d")


@dataclass(frozen=True, slots=True)
class Action:
    """A part of a recording, unread."""

    file: RawFile
    clip: str
    first: str
    """The number of its first frame, as the list has it."""
    last: str

    @property
    def source(self) -> str:
        """How errors name it."""
        return self.file.source

    def read(self) -> bytes:
        """The lines of its frames. Raises TsgcError: none, or no such frames."""
        if not (self.first.isdecimal() and self.last.isdecimal()):
            raise TsgcError(f"{self.source}: {LIST} gives frames {self.first} to {self.last} of {self.clip}")
        frames = range(int(self.first), int(self.last) + 1)
        lines = self.file.read().splitlines(keepends=True)
        found = [line for line in lines if _frame(line) in frames]
        if not found:
            raise TsgcError(f"{self.source}: no frame from {self.first} to {self.last}, for {self.clip}")
        return b"".join(found)


def _frame(line: bytes) -> int:
    number = line.split(maxsplit=1)[:1]
    return int(number[0]) if number and number[0].isdigit() and len(number[0]) < 16 else -1


def find(folder: Path) -> dict[str, Action]:
    """The actions below a folder that has the list, in order. Raises TsgcError: no list, or a wrong one."""
    files = list(walk_files(folder.absolute(), ".txt", set()))
    lists = [file for file in files if file.source.rpartition("/")[2] == LIST]
    if len(lists) != 1:
        raise TsgcError(f"{folder}: {len(lists)} files {LIST}, expected one beside the recordings")
    recordings = {
        match["recording"]: file
        for file in files
        if (match := FILE.fullmatch(file.source.rpartition("/")[2]))
    }
    clips: dict[str, Action] = {}
    for recording, action, first, last in read_list(lists[0].source, lists[0].read()):
        if recording not in recordings:
            raise TsgcError(
                f"{lists[0].source}: {recording}: no joints_{recording}.txt is there; put it beside"
            )
        clip = f"{action}/{recording}"
        if clip in clips:
            raise TsgcError(f"{lists[0].source}: {action} of {recording} comes twice; get the file again")
        clips[clip] = Action(recordings[recording], clip, first, last)
    return dict(sorted(clips.items()))


def read_list(source: str, data: bytes) -> list[tuple[str, str, str, str]]:
    """Recording, action, first and last frame, in the order of the list. Raises TsgcError: another text."""
    found = []
    recording = ""
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        line = line.strip()
        match = ACTION.fullmatch(line)
        if RECORDING.fullmatch(line):
            recording = line
        elif match and recording:
            found.append((recording, match["action"], match["first"], match["last"]))
        elif line:
            raise TsgcError(f"{source}: line {number}: {line[:40]!r}, expected such as `walk: 252 390`")
    return found


def is_utkinect(source: str, content: Any) -> bool:
    """Whether a file is a recording, by its name."""
    return FILE.fullmatch(source.rpartition("/")[2]) is not None


def read(source: str, data: bytes, skeleton: Skeleton) -> Recording:
    """A clip, or a whole recording; a frame's second line is a second body. Raises TsgcError: other text."""
    rows = text_table(source, data, 1 + 3 * V, f"a frame's number and x y z of {V} joints")
    frames: dict[int, list[Body]] = {}
    for row in rows:
        if row[0] != int(row[0]) or row[0] < 0:
            raise TsgcError(f"{source}: frame {row[0]:g}, expected a whole number")
        joints = row[1:].reshape(V, 3)
        seen = (joints != 0).any(axis=1, keepdims=True)
        bodies = frames.setdefault(int(row[0]), [])
        if seen.any():
            bodies.append(Body(np.where(seen, joints, np.nan), id=len(bodies)))
    return Recording(in_order(source, frames))
