"""NTU RGB+D and NTU RGB+D 120 (Shahroudy et al., 2016; Liu et al., 2020): names, splits and presets."""

import re
import zlib
from dataclasses import replace
from functools import partial

import numpy as np

from pipelines.cleaning.actors import clean
from pipelines.cleaning.centre import centre_on_first_actor, centre_present, present_bodies
from pipelines.cleaning.denoise import denoise
from pipelines.datasets.ntu_actions import NTU60_ACTIONS, NTU120_ACTIONS
from pipelines.errors import TsgcError
from pipelines.formats.other_files import saying_what_it_is
from pipelines.reading.ntu_text import NUM_JOINTS, Parsed, parse
from pipelines.skeleton import NTU_25
from pipelines.spec import Dataset, Fields, Identity, Prepared, train_where

# Highest number of each part of a name (NTU RGB+D 120).
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
HIGHEST = {"setup": 32, "camera": 3, "performer": 106, "replication": 2, "action": 120}

# Training performers of the cross-subject benchmarks (the two papers).
XSUB60 = frozenset((1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38))
XSUB120 = XSUB60 | {
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78),
    *(80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
}
PUBLISHED = "github.com/shahroudy/NTURGB-D, folder Matlab"  # its authors' lists of unusable clips
HOLDOUT = 0.10  # share of the training clips, about; whole performers


def read_reference(source: str, data: bytes) -> Prepared:
    """A clip as the reference prepares it: parsed, cleaned, centred. Raises TsgcError as `parse`."""
    parsed = parse(source, data)
    if not parsed.tracks:
        return _nothing()
    joints, rules = denoise(parsed.tracks, parsed.num_frames)
    present = present_bodies(joints)
    if not present.any():
        return _nothing()
    centred, origin = centre_on_first_actor(joints, NTU_25.centre)
    return Prepared(centred, present, origin, dict(+rules), seen=_body_frames(parsed))


def read_corrected(source: str, data: bytes) -> Prepared:
    """A clip without the reference's quirks: true frames, people followed by distance, nothing overwritten.

    Frames without an actor are kept between others and trimmed at the ends. Raises TsgcError as `parse`.
    """
    parsed = parse(source, data)
    tracks = [replace(track, frames=parsed.file_frames[track.frames]) for track in parsed.tracks]
    cleaned = clean(tracks, int(data.split(None, 1)[0]))  # the text starts with its number of frames
    if not len(cleaned.joints):
        return _nothing()
    centred, origin = centre_present(cleaned.joints, cleaned.present, NTU_25.centre)
    rules, lost = dict(cleaned.rules), dict(cleaned.lost)
    return Prepared(centred, cleaned.present, origin, rules, _body_frames(parsed), lost)


def _body_frames(parsed: Parsed) -> int:
    return sum(len(track.joints) for track in parsed.tracks)


def _nothing() -> Prepared:
    return Prepared(
        np.zeros((0, 1, NUM_JOINTS, 3), np.float32), np.zeros((0, 1), np.bool_), np.zeros(3, np.float32)
    )


def identify(name: str, last_setup: int, last_action: int) -> Identity | None:
    """What `SsssCcccPpppRrrrAaaa` tells; None: NTU-120's and not asked for.

    Raises TsgcError for what is no name of NTU RGB+D 120.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise TsgcError(f"unknown name {name!r}, expected SsssCcccPpppRrrrAaaa")
    numbers = dict(zip(HIGHEST, map(int, match.groups())))
    for part, highest in HIGHEST.items():
        if not 1 <= numbers[part] <= highest:
            raise TsgcError(f"unknown {part} {numbers[part]} in {name!r}, expected 1 to {highest}")
    if numbers["setup"] > last_setup or numbers["action"] > last_action:
        return None
    fields = {f"{part}s": number for part, number in numbers.items() if part != "action"}
    return Identity(numbers["action"] - 1, fields)


def hold_out_performers(fields: Fields) -> np.ndarray:
    """Training clips of whole performers, about a tenth of all. Fields (N,) -> (N,) bool.

    Performers come in a fixed arbitrary order; one is taken where that brings the share closer to a
    tenth, and at least one is taken where there are two or more.
    """
    performers, counts = np.unique(fields["performers"], return_counts=True)
    order = sorted(range(len(performers)), key=lambda i: zlib.crc32(b"P%03d" % performers[i]))
    wanted = HOLDOUT * counts.sum()
    held: list[int] = []
    for i in order:
        now = counts[held].sum()
        if abs(now + counts[i] - wanted) < abs(now - wanted):
            held.append(i)
    if not held and len(order) > 1:
        held = [min(order, key=lambda i: counts[i])]
    return np.isin(fields["performers"], performers[held])


FIELDS = ("setups", "cameras", "performers", "replications")
READERS = {
    preset: saying_what_it_is(read, "ntu")
    for preset, read in (("reference", read_reference), ("corrected", read_corrected))
}

NTU60 = Dataset(
    name="ntu60",
    skeleton=NTU_25,
    class_names=NTU60_ACTIONS,
    fields=FIELDS,
    benchmarks={
        "xsub": train_where("performers", XSUB60),
        "xview": train_where("cameras", frozenset((2, 3))),
    },
    holdout=hold_out_performers,
    raw=("nturgbd_raw", "nturgbd_skeletons_s001_to_s017.zip"),
    suffix=".skeleton",
    identify=partial(identify, last_setup=17, last_action=60),
    presets=READERS,
    official=(56_880, 56_578),
    unusable=f"{PUBLISHED}: NTU_RGBD_samples_with_missing_skeletons.txt",
)

NTU120 = Dataset(
    name="ntu120",
    skeleton=NTU_25,
    class_names=NTU120_ACTIONS,
    fields=FIELDS,
    benchmarks={
        "xsub": train_where("performers", XSUB120),
        "xset": train_where("setups", frozenset(range(2, 33, 2))),
    },
    holdout=hold_out_performers,
    raw=("nturgbd_raw", "nturgbd_skeletons_s001_to_s017.zip", "nturgbd_skeletons_s018_to_s032.zip"),
    suffix=".skeleton",
    identify=partial(identify, last_setup=32, last_action=120),
    presets=READERS,
    official=(114_480, 113_945),
    unusable=f"{PUBLISHED}: NTU_RGBD120_samples_with_missing_skeletons.txt",
    absent_body="copy",  # Q: the reference copies the first body in NTU-120 only
)
