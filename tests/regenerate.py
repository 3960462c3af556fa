"""Writes again what is made from code and committed: docs/schemas, docs/settings.md, tables of docs/reliability.md, the
runbook of the incident page from docs/runbook.md, the figures in docs from benchmarks/results.json, and the expected outputs in tests/golden.

    python -m tests.regenerate

Look at the difference before committing it: tests/golden/README.md says which pairs there have to be.
"""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import duckdb

from benchmarks import pages, results
from detection.cli.main import app
from detection.delivery import templates
from detection.delivery.rendering import DIGESTS, FORMATS
from detection.delivery.templates import SAMPLES, TEMPLATES
from detection.messages.digest import as_native
from detection.messages.links import MessageLinks
from detection.messages.native import native
from tests.chaos.page import TABLES
from tests.support.contexts import golden_context, golden_digest, made_up_context
from tests.support.marked import filled
from tests.support.runbook_page import runbook_page
from tests.support.schemas import schema_text, schemas
from tests.support.settings_page import settings_page

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "docs" / "schemas"
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
RELIABILITY_PAGE = ROOT / "docs" / "reliability.md"
RUNBOOK = ROOT / "docs" / "runbook.md"
RUNBOOK_PAGE = ROOT / "detection" / "web" / "pages" / "runbook.html"
GOLDEN = ROOT / "tests" / "golden"
LOGS = GOLDEN / "logs"
MESSAGES = GOLDEN / "messages"
TYPED = LOGS / "ASimAgentEventLogs-typed.parquet"
TYPED_ROWS = GOLDEN / "typed.sql"

_AT = ("--at", "2026-06-10T12:00:00Z")
_LOGS = ("--logs", str(LOGS))
_SENTINEL = ("--rule", "openai-config-to-abuse-sentinel")
_RUNS = ("--from", "2026-06-09T13:00:00Z", "--to", "2026-06-10T16:00:00Z", "--skip", "2026-06-10T07:00:00Z")

# The expected outputs, and the command that each is the output of.
COMMANDS: Mapping[str, Sequence[str]] = {
    "matches.default.jsonl": ("matches", *_LOGS, *_AT, "--format", "json"),
    "matches.sentinel.jsonl": ("matches", *_LOGS, *_AT, *_SENTINEL, "--format", "json"),
    "matches.csv": ("matches", *_LOGS, *_AT, "--format", "csv"),
    "replay.jsonl": ("replay", *_LOGS, *_RUNS, "--pairs", "--format", "json"),
    "query.default.kql": ("query", *_AT),
    "query.sentinel.kql": ("query", *_AT, *_SENTINEL),
}


def output(command: Sequence[str]) -> bytes:
    """What a command writes to stdout."""
    stdout = io.StringIO(newline="")
    with redirect_stdout(stdout), redirect_stderr(io.StringIO()):
        app(list(command), standalone_mode=False)
    return stdout.getvalue().encode()


def message_files() -> dict[str, bytes]:
    """The files of tests/golden/messages by name: an alert and a digest in every format, indented for people."""
    messages = {f"{name}.json": render(golden_context()) for name, render in FORMATS.items()}
    messages |= {f"digest.{name}.json": render(golden_digest()) for name, render in DIGESTS.items()}
    for path in TEMPLATES.glob("*.json.j2"):
        messages[f"template.{path.name}"[:-3]] = templates.render(path.name, native(golden_context()))
        messages[f"digest.template.{path.name}"[:-3]] = templates.render(
            path.name, as_native(golden_digest())
        )
    return {
        name: (json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n").encode()
        for name, body in messages.items()
    }


def sample_messages() -> bytes:
    """The native messages by which templates are checked at start: two alerts, one without links, and a digest."""
    messages = [
        native(golden_context()),
        native(made_up_context(links=MessageLinks())),
        as_native(golden_digest()),
    ]
    return (json.dumps([json.loads(body) for body in messages], ensure_ascii=False) + "\n").encode()


def schema_files() -> dict[str, bytes]:
    """The files of docs/schemas by name."""
    return {f"{name}.json": schema_text(schema).encode() for name, schema in schemas().items()}


def write_typed(path: Path) -> None:
    """The Parquet file from its rows in typed.sql."""
    rows = TYPED_ROWS.read_text(encoding="utf-8")
    duckdb.connect().sql(rows).write_parquet(str(path))


def main() -> None:
    """Writes every file anew; a schema that the code no longer knows goes."""
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    for schema_path in SCHEMAS.glob("*.json"):
        schema_path.unlink()
    for name, content in schema_files().items():
        (SCHEMAS / name).write_bytes(content)
    SETTINGS_PAGE.write_bytes(settings_page().encode())
    RUNBOOK_PAGE.write_text(runbook_page(RUNBOOK.read_text(encoding="utf-8")), encoding="utf-8")
    RELIABILITY_PAGE.write_text(
        filled(RELIABILITY_PAGE.read_text(encoding="utf-8"), TABLES), encoding="utf-8"
    )
    pages.write(results.read())
    MESSAGES.mkdir(exist_ok=True)
    for name, content in message_files().items():
        (MESSAGES / name).write_bytes(content)
    SAMPLES.write_bytes(sample_messages())
    write_typed(TYPED)
    for name, command in COMMANDS.items():
        (GOLDEN / name).write_bytes(output(command))
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
