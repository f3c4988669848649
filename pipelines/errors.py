"""The one error type that reaches a user: a single line that says what to do."""

from tokenize import TokenError

# What NumPy raises for a damaged .npy: its header is a Python literal, read with Python's own tokens.
BAD_NPY = (ValueError, SyntaxError, TypeError, EOFError, MemoryError, RecursionError, TokenError)


class TsgcError(Exception):
    """Bad input or state: what was found, what was expected, what to do, in one line.

    Library code raises it; only `cli.py` turns it into a message and an exit code.
    """

    exit_code = 1


class AmbiguousError(TsgcError):
    """A bare command would have to guess; the message lists the choices."""

    exit_code = 2
