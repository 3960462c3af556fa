"""`python -m detection`."""

import os
import sys
from contextlib import suppress

from detection.cli.main import main

if __name__ == "__main__":
    code = 0
    try:
        main()
    except SystemExit as exit_error:
        code = exit_error.code if isinstance(exit_error.code, int) else int(exit_error.code is not None)
    with suppress(BrokenPipeError):  # the reader of a pipe, such as `head`, may have ended
        sys.stdout.flush()
        sys.stderr.flush()
    # All files are closed. Skip the interpreter's shutdown: freeing millions of objects takes seconds.
    os._exit(code)
