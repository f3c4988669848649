"""Mutated clips through both readers of NTU text: the same clip, or the same one-line error.

    python benchmarks/fuzz_ntu.py [--clips 100000] [--seed 0] [--raw FOLDER]

Each clip comes from its own generator, seeded by (seed, number), so that any one can be made again.
Ends with exit code 1 at the first clip that the readers see differently or that gives any other error; a
crash or a clip that takes ten seconds ends the process with a traceback, and `--progress FILE` holds the
number of the clip.
"""

import argparse
import faulthandler
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pipelines.errors import TsgcError
from pipelines.reading.ntu_text import Parsed, parse_compiled, parse_plain
from pipelines.synthetic.raw_files import ntu_clip, ntu_text

HANG = 10  # seconds
ERROR = re.compile(r"clip: line \d+: [^\n]{1,200}; get the file again")
TOKENS = (
    b"", b" ", b"  ", b"\t", b"\n", b"\r", b"\r\n", b"\x0b", b"\0", b"\x1c", b"\x80", b"\xff", b"-", b"+",
    b".", b"e", b"E5", b"_", b"nan", b"inf", b"-Infinity", b"0x1p3", b"1_0", b"1e22", b"1e23", b"1e-22",
    b"1e39", b"3.4028235e38", b"3.4028236e38", b"1e-46", b"-0", b"9007199254740993", b"0.1234567890123456789",
    b"99999999999999999999", b"9" * 400, b"0", b"1", b"25", b"24", b"26", b"999999", b"1000000", b"-1", b"1.",
)  # fmt: skip
Rng = np.random.Generator
Mutation = Callable[[bytes, Rng], bytes]


def _span(text: bytes, rng: Rng, longest: int = 60) -> tuple[int, int]:
    start = int(rng.integers(0, len(text) + 1))
    return start, min(len(text), start + int(rng.integers(0, longest)))


def flip(text: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(0, len(text)))
    return text[:at] + bytes([text[at] ^ (1 << int(rng.integers(0, 8)))]) + text[at + 1 :]


def insert(text: bytes, rng: Rng) -> bytes:
    at, _ = _span(text, rng)
    return text[:at] + TOKENS[rng.integers(len(TOKENS))] + text[at:]


def delete(text: bytes, rng: Rng) -> bytes:
    start, end = _span(text, rng)
    return text[:start] + text[end:]


def repeat(text: bytes, rng: Rng) -> bytes:
    start, end = _span(text, rng)
    return text[:end] + text[start:end] + text[end:]


def cut_away(text: bytes, rng: Rng) -> bytes:
    return text[: int(rng.integers(0, len(text)))]


def replace_field(text: bytes, rng: Rng) -> bytes:
    fields = list(re.finditer(rb"[^ \r\n]+", text))
    if not fields:
        return text
    field = fields[rng.integers(len(fields))]
    return text[: field.start()] + TOKENS[rng.integers(len(TOKENS))] + text[field.end() :]


def change_lines(text: bytes, rng: Rng) -> bytes:
    """A line lost, doubled, or changed for another."""
    lines = text.splitlines(keepends=True)
    a, b = rng.integers(0, len(lines), 2)
    lines[a : a + 1] = ([], [lines[a], lines[a]], [lines[b]])[rng.integers(3)]
    return b"".join(lines)


def end_lines(text: bytes, rng: Rng) -> bytes:
    return text.replace(b"\r\n", (b"\n", b"\r", b" \r\n", b"\n\n")[rng.integers(4)])


def respell(text: bytes, rng: Rng) -> bytes:
    """Numbers written another way; most still mean the same."""

    def spell(match: re.Match[bytes]) -> bytes:
        value = float(match[0])
        return (b"%.17g" % value, b"%e" % value, b"+" + match[0].lstrip(b"-"), match[0])[rng.integers(4)]

    return re.sub(rb"-?\d+\.\d+", spell, text, count=int(rng.integers(1, 100)))


MUTATIONS: Sequence[Mutation] = (
    flip, insert, delete, repeat, cut_away, replace_field, change_lines, end_lines, respell,
)  # fmt: skip


def mutate(clips: Sequence[bytes], seed: int, number: int) -> bytes:
    """Clip `number`: one of `clips` after one to four mutations."""
    rng = np.random.default_rng([seed, number])
    text = clips[rng.integers(len(clips))]
    for _ in range(rng.integers(1, 5)):
        text = MUTATIONS[rng.integers(len(MUTATIONS))](text, rng) or b"0"
    return text


def first_frames(text: bytes, frames: int) -> bytes:
    """The first frames of a clip."""
    parsed = text.splitlines(keepends=True)
    at = 1
    for _ in range(frames):
        at += 1 + 27 * int(parsed[at])
    return b"%d\r\n" % frames + b"".join(parsed[1:at])


def outcome(read: Callable[[str, bytes], Parsed], text: bytes) -> str | tuple:
    """The error, or all that a clip says, comparable to the bit."""
    try:
        parsed = read("clip", text)
    except TsgcError as error:
        return str(error)
    tracks = [(t.body, t.frames.tolist(), t.joints.dtype, t.joints.tobytes()) for t in parsed.tracks]
    return parsed.num_frames, parsed.file_frames.tolist(), tracks


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", type=Path, help="real clips; their first frames are mutated too")
    parser.add_argument("--progress", type=Path, default=Path(os.devnull))
    options = parser.parse_args()
    whole = [
        ntu_text(ntu_clip(1, 1, performer, 1, action)) for performer, action in ((1, 7), (2, 50), (3, 58))
    ]
    whole += [path.read_bytes() for path in sorted(options.raw.rglob("*.skeleton"))] if options.raw else []
    clips = [first_frames(text, frames) for text in whole for frames in (1, 3)]
    outcome(parse_compiled, clips[0])  # compiled now: that takes seconds, and is no hang
    outcomes: Counter[str] = Counter()
    began = time.monotonic()
    with options.progress.open("w") as progress:
        for number in range(options.clips):
            faulthandler.dump_traceback_later(HANG, exit=True)
            os.pwrite(progress.fileno(), b"%9d" % number, 0)
            text = mutate(clips, options.seed, number)
            fast, plain = outcome(parse_compiled, text), outcome(parse_plain, text)
            if fast != plain or (isinstance(plain, str) and not ERROR.fullmatch(plain)):
                Path("fuzz.skeleton").write_bytes(text)
                sys.exit(
                    f"clip {number}, in fuzz.skeleton: {str(fast)[:300]}\nplain reader: {str(plain)[:300]}"
                )
            kind = (
                re.sub(r"clip: line \d+: |'.*?'|\d+", "*", plain)
                if isinstance(plain, str)
                else "parsed alike"
            )
            outcomes[kind] += 1
    faulthandler.cancel_dump_traceback_later()
    for kind, count in outcomes.most_common():
        print(f"{count:8,}  {kind}")
    seconds = time.monotonic() - began
    print(f"{options.clips:,} mutated clips in {seconds:.0f} s: no crash, no hang, no difference")


if __name__ == "__main__":
    faulthandler.enable()
    main()
