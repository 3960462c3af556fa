"""`new-rule`: the draft of a rule folder from a published rule."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from detection.cli.output import write_remark
from detection.drafting.draft import make_draft
from detection.drafting.folder import problem_of, write_draft
from detection.messages.text import escape_line
from detection.rules.model import RULES


def new_rule(
    published_file: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="A Sentinel rule's YAML that joins two sources.")
    ],
    target_folder: Annotated[
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
    rule_draft = make_draft(published_file, target_folder)
    folder = write_draft(rule_draft, target_folder)
    print(f"{folder}: {', '.join(sorted(path.rpartition('/')[2] for path in rule_draft.files))}")
    for remark in rule_draft.remarks:
        print(f"  to look at: {escape_line(remark)}")
    if problem := problem_of(folder):
        write_remark(f"not valid yet: {problem}")
        sys.exit(1)
    print("valid; see what it finds: python -m detection test-rules " + str(folder))
