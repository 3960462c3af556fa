"""The command line: each command parses its options, calls a function of the product and renders the result.

Results go to stdout, remarks and errors to stderr. Exit code 0 means success, 1 a failure or an incomplete
read, 2 wrong usage, settings or rule.
"""
