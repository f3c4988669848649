"""What a file is that is not what it was taken for: a video, another data set's clip, a web page."""

import os
import re
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path, PurePath

from pipelines.errors import TsgcError
from pipelines.formats.table import sniff
from pipelines.reading.json_file import parse_loose
from pipelines.spec import Prepared

Read = Callable[[str, bytes], Prepared]

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".3gp")
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
FROM_VIDEO = "a pose estimator finds the joints first; docs/from-video.md shows how"
# Frames, bodies of the first, the ten numbers of a body, its joints; or a first frame without a body.
NTU = re.compile(rb"(\xef\xbb\xbf)?\d+\s*\n(0\s*\n)*[1-6]\s*\n(\S+ +){9}\S+\s*\n25\s*\n")
HEAD = 4096  # bytes that tell
MOST_FOLDERS = 100  # that are looked through


def what_is(source: str, data: bytes) -> tuple[str, str]:
    """A short name of what a file is, and what to do with it; both empty: nothing that is known here."""
    head = data[:HEAD]
    suffix = PurePath(source).suffix.lower()
    if not data:
        return "empty", "an empty file; get it again"
    if head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3" or suffix in VIDEOS or head[8:11] == b"AVI":
        return "video", f"a video: {FROM_VIDEO}"
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n")) or suffix in PICTURES:
        return "picture", f"a picture: {FROM_VIDEO}"
    for name, mark, words in MARKS:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(mark):
            return name, words
    if NTU.match(head):
        return "ntu", "NTU RGB+D text: for `tsgc prepare ntu60` or ntu120, and for runs of these"
    if suffix == ".json" and _is_nw_ucla(source, data):
        return "nw-ucla", "NW-UCLA's JSON: for `tsgc prepare nw-ucla`, and for runs of it"
    if form := sniff(source, data):
        return form.name, f"{form.what}: `format: {form.name}` of `tsgc prepare custom`, and its runs"
    return "", ""


MARKS = (
    ("page", b"<!doctype html", "a web page, not the file: sign in where it was got, or get it again"),
    ("page", b"<html", "a web page, not the file: sign in where it was got, or get it again"),
    ("pointer", b"version https://git-lfs", "a pointer of Git LFS, not the file: `git lfs pull` gets it"),
    ("hdf5", b"\x89hdf", "HDF5; a prepared file is for `tsgc shard`"),
    ("pickle", b"\x80\x04\x95", "a pickle; PYSKL's are for `tsgc prepare pyskl`"),
    ("pickle", b"\x80\x03}", "a pickle; PYSKL's are for `tsgc prepare pyskl`"),
    ("zip", b"pk\x03\x04", "a zip; an .npz of the published code is for `tsgc prepare npz`"),
)


def _is_nw_ucla(source: str, data: bytes) -> bool:
    try:
        content = parse_loose(source, data)
    except TsgcError:
        return False
    return isinstance(content, dict) and {"skeletons", "label"} <= content.keys()


def saying_what_it_is(read: Read, own: str) -> Read:
    """A data set's reader, whose errors say what a file is where it is another known thing.

    `own`: what `what_is` calls the data set's own clips.
    """
    return partial(_read, read=read, own=own)


def _read(source: str, data: bytes, read: Read, own: str) -> Prepared:
    try:
        return read(source, data)
    except TsgcError as error:
        raise told(error, source, data, own) from error


def told(error: TsgcError, source: str, data: bytes, own: str) -> TsgcError:
    """The error of a file that could not be read, and what the file is, if not what it was taken for."""
    name, words = what_is(source, data)
    return error if name in ("", "empty", own) else TsgcError(f"{error}; it is {words}")


def found_instead(folder: Path) -> str:
    """What lies below a folder in place of clips, as the end of a sentence; empty: nothing that tells."""
    names = [name.lower() for _, _, names in islice(os.walk(folder), MOST_FOLDERS) for name in names]
    for suffixes, what, words in (
        (VIDEOS, "video", FROM_VIDEO),
        (PICTURES, "picture", FROM_VIDEO),
        (".skeleton", ".skeleton file", "NTU RGB+D's are for `tsgc prepare ntu60` or ntu120"),
    ):
        if count := sum(name.endswith(suffixes) for name in names):
            there = f"{what} is" if count == 1 else f"{what}s are"
            return f"; {count:,} {there} there: {words}"
    return ""
