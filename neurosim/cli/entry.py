"""Entry point: run a command, turn what it raises into a line on stderr and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType

from neurosim.cli.output import error, note
from neurosim.cli.parser import parse
from neurosim.errors import CheckpointError, ConfigError, ConversionError, DataError, RunError

#: exit code by kind of error
_CODES: dict[type[Exception], int] = {ConfigError: 2, ConversionError: 2, CheckpointError: 2, DataError: 4, RunError: 1}


class Terminated(KeyboardInterrupt):
    """SIGTERM came while nothing else had asked to handle it."""

    signum = signal.SIGTERM
    exit_code = 128 + signum


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the name of the program; by default those of this process.

    Returns:
        The exit code.

    Raises:
        SystemExit: After help, a version, or arguments that do not hold.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign is no reason to fail
    args = parse(given)
    args.command_line = shlex.join(["neurosim", *given])
    with _sigterm_raises():
        return _answer(args)


def _answer(args: argparse.Namespace) -> int:
    try:
        return int(args.run(args))
    except KeyboardInterrupt as stop:
        note(str(stop) or f"stopped; run the same command again to go on where that is possible: {args.command_line}")
        return int(getattr(stop, "exit_code", 130))
    except BrokenPipeError:  # the reader of a pipe has gone: nothing to tell, nobody to tell it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except Exception as problem:
        return _report(problem, debug=args.debug)


def _report(problem: Exception, *, debug: bool) -> int:
    if debug:
        note("".join(traceback.format_exception(problem)).rstrip())
    known = next((code for kind, code in _CODES.items() if isinstance(problem, kind)), None)
    if known is not None:
        error(problem.problems if isinstance(problem, ConfigError) else str(problem).splitlines())
        return known
    text = str(problem) if isinstance(problem, OSError) else f"{type(problem).__name__}: {problem}"
    error([f"{text}{'' if debug else ' (--debug shows where)'}"])
    return 1


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Within the block SIGTERM unwinds like Ctrl-C does, so that what is open is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
