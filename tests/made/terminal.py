"""Python code run in a terminal of its own, as a person would see it."""

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import time
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(code: str, width: int = 80, *, type_at: str = "", typed: str = "", seconds: int = 300) -> str:
    """What Python code prints in a terminal of `width` columns, without colours; both streams together.

    Once `type_at` has been printed, `typed` is typed. The last line is `exit` and the exit code.
    """
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        path = os.pathsep.join(map(str, (Path(__file__).parents[2], *sys.path)))
        environment = {**os.environ, "PYTHONPATH": path, "TERM": "xterm"}
        environment.pop("COLUMNS", None)
        os.execve(sys.executable, [sys.executable, "-c", code], environment)
    said, end = "", time.monotonic() + seconds
    try:
        while time.monotonic() < end and (got := os.read(terminal, 1 << 16)):
            said += got.decode(errors="replace")
            if type_at and type_at in said:
                os.write(terminal, typed.encode())
                type_at = ""
    except OSError:  # the other end was closed
        pass
    os.close(terminal)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ESCAPES.sub("", said).replace("\r\n", "\n") + f"exit {ended}"
