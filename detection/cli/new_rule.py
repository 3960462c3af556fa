"""`new-rule`: the draft of a rule folder from a published rule."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from detection.cli.output import say
from detection.drafting.draft import draft
from detection.drafting.folder import problem_of, write
from detection.messages.text import inert
from detection.rule import RULES


def new_rule(
    published: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="A Sentinel rule's YAML that joins two sources.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Gets rules/<name>, and connectors/ if need be; the shipped ones' folder if not given.",
            show_default=False,
        ),
    ] = RULES.parent,
) -> None:
    """Draft a rule folder from a published rule, and say what could not be drafted; exit code 1 if it is not valid yet."""
    made = draft(published, out)
    folder = write(made, out)
    print(f"{folder}: {', '.join(sorted(path.rpartition('/')[2] for path in made.files))}")
    for remark in made.remarks:
        print(f"  to look at: {inert(remark)}")
    if problem := problem_of(folder):
        say(f"not valid yet: {problem}")
        sys.exit(1)
    print("valid; see what it finds: python -m detection test-rules " + str(folder))
