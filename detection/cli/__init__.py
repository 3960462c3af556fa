"""The command line: one file a command. Each parses, calls and renders, and decides nothing.

Results go to stdout, everything else to stderr. Exit code 0 is done, 1 failed or incomplete, 2 wrong
usage, settings or rule.
"""
