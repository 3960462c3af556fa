"""The line: a published rule → its query, understood → two sides → the files of a rule folder, and what is left to do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from detection.drafting.fields import drafted_fields, iso_duration
from detection.drafting.query import Query, understood
from detection.drafting.side import Asked, Drafted, drafted, guessed
from detection.errors import ConfigurationError
from detection.rule import CONNECTORS, Connector, DataConnector, EntityMapping, read_yaml

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """The files of a draft by their path, relative to the folder of rules and connectors, and remarks for its author."""

    name: str
    files: Mapping[str, str]
    remarks: Sequence[str]


def draft(path: Path) -> Draft:
    """The draft of a published rule's YAML. Raises ConfigurationError, saying why, where there can be none."""
    published = _document(path)
    query = _query(path, published["query"])
    connector, remarks, files = _connector(published, query)
    changes, in_changes = drafted(
        Asked("changes", "Change", query.changes, query.change_actor, query.change_time, query.output, {}),
        connector,
    )
    signals, in_signals = drafted(
        Asked(
            "signals",
            "Signal",
            query.signals,
            query.signal_actor,
            query.signal_time,
            query.output,
            changes.columns,
        ),
        connector,
    )
    fields, about_fields = drafted_fields(published, _texts(changes) | _texts(signals))
    remarks = [*query.remarks, *changes.remarks, *signals.remarks, *about_fields, *remarks]
    name = re.sub(r"[^a-z0-9]+", "-", str(published.get("name", "draft")).lower()).strip("-")
    sequence = {
        "within": iso_duration(query.within or timedelta(days=1)),
        "windows": "watermark",
        "duplicates": "once",
        "changes": in_changes,
        "signals": in_signals,
        "output": _output(query, changes, signals),
    }
    folder = f"rules/{name}"
    files |= {
        f"{folder}/rule.yaml": _head(path, remarks) + _yaml(fields | {"sequence": sequence}),
        f"{folder}/changes.kql": f"{changes.kql}\n",
        f"{folder}/signals.kql": f"{signals.kql}\n",
        f"{folder}/tests/first.yaml": _FIRST_TEST,
    }
    return Draft(name, files, list(dict.fromkeys(remarks)))


def _query(path: Path, text: str) -> Query:
    try:
        return understood(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


class _Incidents(BaseModel):
    model_config = ConfigDict(extra="allow")

    groupingConfiguration: dict[str, Any] = {}  # noqa: N815  # Sentinel's name


class _Published(BaseModel):
    """What of a published rule has to be of the right shape; the rest is looked at field by field."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    query: str
    requiredDataConnectors: list[DataConnector] = []  # noqa: N815  # Sentinel's names
    entityMappings: list[EntityMapping] = []  # noqa: N815
    incidentConfiguration: _Incidents = _Incidents()  # noqa: N815


def _document(path: Path) -> Document:
    read_yaml(path, _Published)
    document: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def _connector(published: Document, query: Query) -> tuple[Connector, list[str], dict[str, str]]:
    """What the sides' sources are: known connectors, or a guess, which then is a file of the draft."""
    asked = [one["connectorId"] for one in published.get("requiredDataConnectors") or []]
    known = [read_yaml(path, Connector) for name in asked if (path := CONNECTORS / f"{name}.yaml").is_file()]
    both = Connector(
        parsers={name: kql for one in known for name, kql in one.parsers.items()},
        tables={name: table for one in known for name, table in one.tables.items()},
    )
    sides = ((query.changes, query.change_actor), (query.signals, query.signal_actor))
    missing = [one for one in sides if one[0].source not in both.parsers | both.tables]
    if not missing:
        return both, [], {}
    tables = {
        name: {"stamped": "TimeGenerated", "columns": columns} for name, columns in guessed(missing).items()
    }
    own = {"parsers": {}, "tables": tables}
    name = next((one for one in asked if not (CONNECTORS / f"{one}.yaml").is_file()), "Draft")
    published["requiredDataConnectors"] = [
        *(one for one in published.get("requiredDataConnectors") or [] if one["connectorId"] != name),
        {"connectorId": name, "dataTypes": list(tables)},
    ]
    remark = f"connectors/{name}.yaml: columns and types of {', '.join(tables)} are guessed from the query; see the table's reference"
    guess = Connector.model_validate(
        {
            "parsers": both.parsers,
            "tables": {key: one.model_dump() for key, one in both.tables.items()} | tables,
        }
    )
    return (
        guess,
        [remark],
        {
            f"connectors/{name}.yaml": f"# A guess from the query: see the reference of the tables.\n{_yaml(own)}"
        },
    )


def _output(query: Query, changes: Drafted, signals: Drafted) -> list[str]:
    """The published columns, under the names that they have here, and what this job adds."""
    columns = changes.columns | signals.columns
    named = signals.renamed | {name: name for name in columns}
    published = [named[one] for one in query.output if one in named]
    own = [side.roles[role] for side in (changes, signals) for role in ("time", "kind", "id")]
    return list(dict.fromkeys([*published, *(one for one in own if one in columns)]))


def _texts(side: Drafted) -> dict[str, str]:
    """The side's text columns, also by the names that they had in the published output."""
    texts = {name: name for name, kind in side.columns.items() if kind == "string"}
    return texts | {old: new for old, new in side.renamed.items() if new in texts and old.endswith("1")}


def _head(path: Path, remarks: Sequence[str]) -> str:
    lines = [f"Drafted from {path.name}. Labels say in words what a kind is: kind: created an API key."]
    lines += (
        ["What the draft does not say:", *(f"  - {one}" for one in dict.fromkeys(remarks))] if remarks else []
    )
    return "".join(f"# {' '.join(one.split())}\n" if one[0] != " " else f"#{one}\n" for one in lines)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as one."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # the base's
        """Nothing is written as an alias."""
        return True


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def _yaml(document: Document) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


_FIRST_TEST = """\
about: The draft's first cases. docs/rules.md says what else they can say.
cases:
- name: nothing in the logs, nothing told
  events: []
  rows: 0
  alerts: 0
# - name: a change, then a signal
#   events:
#   - {TableOrObject: {Column: value}, at: -PT2H}
#   - {TableOrObject: {Column: value}, at: -PT1H}
#   rows: 1
"""
