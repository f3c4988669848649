"""Errors of commands become one line and an exit code: here, and nowhere else."""

import errno
import io
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from pipelines.errors import TsgcError, UsageError
from pipelines.interrupts import CommandSignals, Interrupted, line_start
from tsgc.distributed.environment import LAUNCHED, QUIET

# What the parser raises for a wrong command line; typer has its own copy of click, or click's.
PARSER_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class OneLineErrors(TyperGroup):
    """A group of commands whose every error is one line on standard error, and an exit code.

    2 for wrong usage, whether the parser or a command finds it; 1 for the rest, but for errors with a code of
    their own.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        self.debug = "--debug" in words or bool(os.environ.get("TSGC_DEBUG"))
        self.words = [word for word in words if word not in ("--debug", "--quiet")]
        _forgive_encoding()
        before = os.environ.get(QUIET)
        if "--quiet" in words:
            os.environ[QUIET] = "1"  # in the environment, so that the ranks that --gpus starts have it too
        try:
            self.signals = CommandSignals(mute=LAUNCHED in os.environ, last=args is None)
            with self.signals:
                return super().main(self.words, *rest, **options)
        finally:
            os.environ.pop(QUIET, None) if before is None else os.environ.update({QUIET: before})

    def make_context(self, *words: Any, **options: Any) -> Any:
        """Read the options of the whole command."""
        with self._one_line():
            return super().make_context(*words, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of one command, and run it."""
        with self._one_line():
            return super().invoke(ctx)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            with self.signals.heard():
                yield
        except (TsgcError, OSError, PARSER_ERROR) as error:
            said = _told(error, self.words)
            if self.debug or said is None:
                raise
            raise typer.Exit(_report(said)) from None
        except KeyboardInterrupt as stopped:
            if self.debug:
                raise
            raise typer.Exit(self._interrupted(stopped)) from None

    def _interrupted(self, stopped: KeyboardInterrupt) -> int:
        """Say on standard error what was interrupted and how to go on."""
        command = self.commands.get(self.words[0])
        overwrites = command is not None and any(one.name == "overwrite" for one in command.params)
        again = ", with --overwrite if it has finished a file" if overwrites else ""
        left = f"tsgc {self.words[0]} has left nothing half-written; the same command starts it again{again}"
        told = Interrupted(str(stopped) or left, getattr(stopped, "number", signal.SIGINT))
        by = "" if told.number == signal.SIGINT else f" by {told.number.name}"
        _say(told, f"interrupted{by}: {told}")
        return told.exit_code


def _forgive_encoding() -> None:
    """Make standard output print what its encoding lacks as an escape, as standard error does.

    A name that the terminal cannot show must not end the command and lose its answers.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _told(error: Exception, words: Sequence[str]) -> TsgcError | None:
    """The error of a command line in our words.

    None for the help that a bare group shows, which typer raises as an error.
    """
    if isinstance(error, TsgcError):
        return error
    if isinstance(error, OSError):
        return _plain(error)
    message = str(getattr(error, "format_message")())  # noqa: B009, no type says that it is there
    if not message or "\n" in message:  # shown already, or about to be
        return None
    context = getattr(error, "ctx", None)
    if setting := _said_as_setting(context, getattr(error, "option_name", ""), words):
        message = f"{getattr(error, 'message', message)}; it is a setting: {setting}"
    message, _, near = message.partition(". Did you mean ")
    if near:
        return UsageError(f"{message[:1].lower()}{message[1:]}; did you mean {near}")
    command = _command(context)
    return UsageError(f"{message[:1].lower()}{message[1:].rstrip('.')}; see `{command} --help`")


def _said_as_setting(context: Any, option: str | None, words: Sequence[str]) -> str:
    """The --set that an unknown option was to be; empty where it is no setting, or there is no --set."""
    if context is None or not any("--set" in known.opts for known in context.command.params):
        return ""
    from tsgc.config import named_setting

    setting = named_setting(option.removeprefix("--").replace("-", "_")) if option else None
    if setting is None:
        return ""
    at = next(index for index, word in enumerate(words) if word.partition("=")[0] == option)
    following = words[at + 1] if at + 1 < len(words) else "--"
    value = words[at].partition("=")[2] or following
    if value.startswith("--"):
        value = "true" if setting.type is bool else "VALUE"
    return "--set " + shlex.quote(f"{setting.name}={value}")


def _command(context: Any) -> str:
    """The command that was being read, as people call it."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(["tsgc", *names])


def _plain(error: OSError) -> TsgcError:
    """The operating system's complaint as one line."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TsgcError(f"{where}no space left on the device; free some, or write elsewhere")
    return TsgcError(f"{where}{error.strerror or error}")


def _report(error: TsgcError) -> int:
    """Say it on standard error; the exit code."""
    _say(error, f"error: {error}")
    return error.exit_code


def _say(error: BaseException, line: str) -> None:
    """Print a line on standard error; a rank that --gpus started leaves that to its launcher."""
    is_rank = "TORCHELASTIC_ERROR_FILE" in os.environ
    if is_rank:
        from tsgc.distributed.launch import record_failure

        record_failure(error)
    if not (is_rank and LAUNCHED in os.environ):
        from tsgc.console import Talker

        if getattr(error, "exit_code", 1) not in (1, 2):  # a signal's
            print(line_start(), end="", file=sys.stderr, flush=True)
        Talker().warn(line)


def command_again(ctx: typer.Context, more: str) -> str:
    """This command line with the option `more`, in place of those that it excludes, to be read and copied."""
    from shards.remote import safe

    command = ctx.find_root().command
    assert isinstance(command, OneLineErrors)
    words = [
        safe(word) if "://" in word else word for word in command.words if word not in (more, "--overwrite")
    ]
    return f"`{shlex.join(['tsgc', *words, more])}`"


def launch_ranks(ctx: typer.Context, gpus: int | None, device: str | None) -> bool:
    """Start this command line as `gpus` ranks, unless this process is one; whether it did."""
    if gpus is None:
        return False
    from tsgc.console import rank_talker

    with rank_talker().doing("loading PyTorch"):
        from tsgc.distributed.launch import launch
        from tsgc.distributed.process import started_by_torchrun
    if started_by_torchrun():
        return False
    command = ctx.find_root().command
    assert isinstance(command, OneLineErrors)
    os.environ[LAUNCHED] = "1"
    launch(gpus, command.words, device)
    return True
