"""`python -m detection`."""

import os
import sys
from contextlib import suppress

from detection.cli.main import main


def _exit_code() -> int:
    try:
        main()
    except SystemExit as exit_error:
        return exit_error.code if isinstance(exit_error.code, int) else int(exit_error.code is not None)
    return 0


if __name__ == "__main__":
    code = _exit_code()
    with suppress(BrokenPipeError):  # the reader, `head` say, has what it wanted
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is closed by now; taking millions of objects apart one by one would only make the user wait.
    os._exit(code)
