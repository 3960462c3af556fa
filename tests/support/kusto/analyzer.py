"""Microsoft's KQL parser, asked from Python what it thinks of a query.

`analyze` declares a closed schema to the parser behind Microsoft's own editors (`@kusto/language-service-next`):
a column, table or function that does not exist is a diagnostic here, not a query that fails in the cloud. It also
tells which columns a query returns, in order and with their types.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.node import ROOT, ask

Schema = Mapping[str, Mapping[str, str]]  # table -> column -> KQL type

SCRIPT = Path(__file__).with_name("analyze.js")

CONNECTOR_FUNCTIONS = {
    "OpenAIAuditLogs": "union isfuzzy=true OpenAIAuditLogs_CL, SentinelOpenAIAuditLogs",
    "OpenAIChatCompletions": (
        "ASimAgentEventLogs\n"
        "| where EventVendor == 'OpenAI' and EventProduct == 'OpenAI API Platform' and EventType == 'ChatCompletion'"
    ),
}
"""The functions the OpenAI connector installs in a workspace, name -> body."""


@dataclass(frozen=True)
class Diagnostic:
    """One thing the parser has to say about a text; line and column count from 1."""

    severity: str
    code: str
    line: int
    column: int
    text: str
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.severity} {self.code}: {self.message}"


@dataclass(frozen=True)
class Analysis:
    """What the parser found in one text: its diagnostics, and the columns of its result with their types, in order."""

    diagnostics: tuple[Diagnostic, ...]
    columns: dict[str, str]


def connector_schema() -> dict[str, dict[str, str]]:
    """The tables the OpenAI connector reads and writes.

    ASimAgentEventLogs is the table as documented, OpenAIAuditLogs_CL is what the connector creates. The schema of
    SentinelOpenAIAuditLogs is not published: it is assumed to have the same columns as OpenAIAuditLogs_CL, as the
    connector's own function unites the two. Leaving it out is no option: the parser takes a union with an
    undeclared table for one that may have any column, and no longer sees a misspelt one.
    """
    schema: dict[str, dict[str, str]] = json.loads((ROOT / "tests/data/connector_schema.json").read_bytes())
    return schema


def analyze(
    texts: Mapping[str, str], schema: Schema, functions: Mapping[str, str] | None = None
) -> dict[str, Analysis]:
    """What the parser finds in each text, all asked in one node process.

    `functions` are stored functions without parameters, name -> body; an error in a body raises NodeError.
    """
    request = {"schema": schema, "functions": functions or {}, "texts": dict(texts)}
    answer = ask(SCRIPT, request)
    return {name: _analysis(answer[name]) for name in texts}


def _analysis(answer: dict[str, Any]) -> Analysis:
    diagnostics = tuple(Diagnostic(**diagnostic) for diagnostic in answer["diagnostics"])
    return Analysis(diagnostics, answer["columns"])
