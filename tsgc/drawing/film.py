"""Pictures to an MP4, by PyAV or by the program ffmpeg, whichever is there."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.errors import TsgcError

Encoder = Callable[[Sequence[np.ndarray], Fraction, Path], None]
CODEC, PIXELS = "libx264", "yuv420p"  # what every browser and player shows
FRONT = "faststart"  # the index before the pictures, so that a browser plays at once


def encode_film(pictures: Sequence[Image.Image], rate: float) -> bytes:
    """An MP4 of pictures of one size, `rate` a second. Raises TsgcError where nothing here writes one."""
    encode = find_encoder()
    frames = [_even(picture) for picture in pictures]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "film.mp4")  # the index is moved in the end, which memory and pipes do not allow
        encode(frames, Fraction(rate).limit_denominator(1000), out)
        return out.read_bytes()


def find_encoder() -> Encoder:
    """What writes films here. Raises TsgcError where there is nothing."""
    if find_spec("av"):
        return _by_pyav
    if shutil.which("ffmpeg"):
        return _by_ffmpeg
    raise TsgcError(
        "an .mp4 needs PyAV or ffmpeg, and neither is here; `pip install av`, or install ffmpeg,"
        " or write a .gif"
    )


def _even(picture: Image.Image) -> np.ndarray:
    """A picture as (height, width, 3) bytes, its sides even: colours are stored for 2 x 2 pixels."""
    pixels = np.asarray(picture.convert("RGB"))
    return np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), mode="edge")


def _by_pyav(frames: Sequence[np.ndarray], rate: Fraction, out: Path) -> None:
    import av

    with av.open(str(out), "w", options={"movflags": FRONT}) as film:
        stream = film.add_stream(CODEC, rate=rate)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = PIXELS
        for pixels in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(stream.encode())


def _by_ffmpeg(frames: Sequence[np.ndarray], rate: Fraction, out: Path) -> None:
    height, width = frames[0].shape[:2]
    words = [
        "ffmpeg", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
        "-r", str(rate), "-i", "-", "-c:v", CODEC, "-pix_fmt", PIXELS, "-movflags", FRONT, str(out),
    ]  # fmt: skip
    done = subprocess.run(words, input=b"".join(map(np.ndarray.tobytes, frames)), capture_output=True)
    if done.returncode or not out.is_file():
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit {done.returncode}"]
        raise TsgcError(f"ffmpeg could not write the film ({said[-1]}); `pip install av`, or write a .gif")
