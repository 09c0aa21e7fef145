"""The command line. A command parses, calls and prints; the work is elsewhere.

Nothing heavy is imported before a command needs it, so that `visionsmith --help` answers at once.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Entry point of `visionsmith`. Exit codes: 0 done, 1 a defect, 2 a user's mistake, 130 interrupted."""
    from visionsmith.cli.app import app
    from visionsmith.errors import VisionsmithError

    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments or os.environ.get("VISIONSMITH_DEBUG") == "1"
    arguments = [argument for argument in arguments if argument != "--debug"]
    try:
        app(args=arguments, prog_name="visionsmith")
    except VisionsmithError as error:
        if debug:
            raise
        _say(f"error: {error}")
        sys.exit(error.exit_code)
    except SystemExit as end:
        # Typer turns Ctrl-C into this code, without a word.
        if end.code == 130:
            _say("stopped")
        raise
    except BrokenPipeError:
        # The reader of our output went away (`visionsmith list | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        _say(f"defect: {type(error).__name__}: {error}. Run again with --debug and report what it shows.")
        sys.exit(1)


def _say(sentence: str) -> None:
    sys.stderr.write(sentence.strip() + "\n")
