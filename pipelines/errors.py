"""The one error type that reaches a user: a single line that says what to do."""

from tokenize import TokenError

# What NumPy raises for a damaged .npy: its header is a Python literal, read with Python's own tokens.
BAD_NPY = (ValueError, SyntaxError, TypeError, EOFError, MemoryError, RecursionError, TokenError)


class TsgcError(Exception):
    """Bad input or state: what was found, what was expected, what to do, in one line.

    Library code raises it; only `tsgc.commands.error_line` turns it into a message and an exit code.
    """

    exit_code = 1


class UsageError(TsgcError):
    """The command line itself is wrong: it needs another value or option, whatever the files and the machine.

    Where the line may be right, and a file, the data or the machine is not as it says: a plain TsgcError.
    """

    exit_code = 2


class AmbiguousError(UsageError):
    """A bare command would have to guess; the message lists the choices."""


def first_line(error: BaseException, most: int = 160) -> str:
    """The first line of a library's error, at most `most` characters; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:most]
