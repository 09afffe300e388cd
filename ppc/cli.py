"""The command line: verbs over the public API; results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

import ppc
from ppc.cli_command import Command
from ppc.cli_evaluate import evaluate
from ppc.cli_generate import generate
from ppc.cli_keygen import clients, keygen
from ppc.cli_model import bench, check, compile_, inspect, simulate
from ppc.cli_results import answered, begin, log, print_json, say
from ppc.cli_serve import serve
from ppc.cli_sides import prepare, run
from ppc.cli_tune import tune

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    check,
    compile_,
    inspect,
    bench,
    simulate,
    evaluate,
    tune,
    run,
    prepare,
    generate,
    serve,
    keygen,
    clients,
):
    app.command(_command.__name__.rstrip("_"), cls=Command)(_command)


def _version(asked: bool) -> None:
    if asked:
        print(f"ppc {ppc.__version__}")
        raise typer.Exit


@app.callback()
def _ppc(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Private transformer inference: the server keeps its weights, the client keeps its prompt."""


class _Lines(logging.Handler):
    """What the program says while it works, line by line on stderr; of two sides that talk with the time."""

    def emit(self, record: logging.LogRecord) -> None:
        told = record.getMessage()
        if record.name.startswith("ppc.runtime."):
            told = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))}  {told}"
        say(told)


def main() -> NoReturn:
    """Entry point: every fault is one line and an exit status, and with --json the one document."""
    begin()
    logger = logging.getLogger("ppc")
    logger.handlers, logger.propagate = [_Lines()], False
    logger.setLevel(logging.INFO)
    try:
        status = app(standalone_mode=False)  # what typer.Exit carried, None from a command that ended
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as fault:  # the last gate: what is not ours keeps its traceback
        status = _status(fault)
        if status is None:
            raise
        if line := _line(fault):  # nothing where help was shown for want of a command
            log.print(f"ppc: {line}", style="red", markup=False)
            if "--json" in sys.argv and not answered():
                print_json({"error": {"status": status, "kind": type(fault).__name__, "message": line}})
        sys.exit(status)
    sys.exit(status if isinstance(status, int) else 0)


def _status(fault: Exception) -> int | None:
    if hasattr(fault, "format_message") and hasattr(fault, "exit_code"):  # click's, or typer's copy of it
        return 2
    if isinstance(fault, OSError) and fault.filename is not None:  # a file to be written
        return 2
    if isinstance(fault, MemoryError):
        return 2
    own = getattr(fault, "exit_status", None)
    return own if isinstance(own, int) else None


def _line(fault: Exception) -> str:
    if isinstance(fault, OSError):
        return f"{fault.filename}: {fault.strerror}"
    if isinstance(fault, MemoryError):
        return f"more memory is asked for than there is: {fault}".rstrip(": ")
    show: Callable[[], str] | None = getattr(fault, "format_message", None)
    return show().replace("Value error, ", "") if show else str(fault)  # which a newer typer puts in


if __name__ == "__main__":
    main()
