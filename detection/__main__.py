"""`python -m detection`."""

import os
import sys
from contextlib import suppress

from detection.cli.main import main


def _code() -> int:
    try:
        main()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


if __name__ == "__main__":
    code = _code()
    with suppress(BrokenPipeError):  # the reader, `head` say, has what it wanted
        sys.stdout.flush()
        sys.stderr.flush()
    # Everything is closed by now; taking millions of objects apart one by one would only make the user wait.
    os._exit(code)
