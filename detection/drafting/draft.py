"""The line: a published rule → its query, understood → two sides → the files of a rule folder, and what is left to do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from detection.drafting.fields import drafted_fields, iso_duration
from detection.drafting.guess import guessed, with_tables
from detection.drafting.query import Query, understood
from detection.drafting.side import Asked, Drafted, drafted
from detection.errors import ConfigurationError
from detection.rule import RULES, Connector, DataConnector, EntityMapping, connector_file, read_yaml

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """The files of a draft by their path, relative to the folder of rules and connectors, and remarks for its author."""

    name: str
    files: Mapping[str, str]
    remarks: Sequence[str]


def draft(path: Path, out: Path = RULES.parent) -> Draft:
    """The draft of a published rule's YAML; connectors in `out` are known. Raises ConfigurationError where there can be none."""
    published = _document(path)
    query = _query(path, published["query"])
    sources = _sources(published, query, out)
    changes, signals = _sides(query, sources.connector)
    fields, about_fields = drafted_fields(published | sources.needed, _texts(changes) | _texts(signals))
    remarks = [*query.remarks, *changes.remarks, *signals.remarks, *about_fields, *sources.remarks]
    remarks = list(dict.fromkeys(remarks))
    name = re.sub(r"[^a-z0-9]+", "-", str(published.get("name", "draft")).lower()).strip("-") or "draft"
    files = {
        "rule.yaml": _head(path, remarks) + _yaml(fields | {"sequence": _sequence(query, changes, signals)}),
        "changes.kql": f"{changes.kql}\n",
        "signals.kql": f"{signals.kql}\n",
        "tests/first.yaml": _FIRST_TEST,
    }
    return Draft(
        name, sources.files | {f"rules/{name}/{file}": text for file, text in files.items()}, remarks
    )


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


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the sides start from; a guess comes with its file, the rule's connectors with it among them, and a remark."""

    connector: Connector
    files: dict[str, str] = field(default_factory=dict)
    needed: Document = field(default_factory=dict)
    remarks: Sequence[str] = ()


def _sources(published: Document, query: Query, out: Path) -> _Sources:
    asked = {
        one["connectorId"]: one
        for one in published.get("requiredDataConnectors", [])
        if re.fullmatch(r"\w+", one["connectorId"])  # it becomes a file's name
    }
    paths = {name: connector_file(out / "rules" / "draft", f"{name}.yaml") for name in asked}
    known = [read_yaml(path, Connector) for path in paths.values() if path]
    sources = {name for one in known for name in (*one.parsers, *one.tables)}
    sides = ((query.changes, query.change_actor), (query.signals, query.signal_actor))
    tables = guessed([side for side in sides if side[0].source not in sources])
    connector = with_tables(known, tables)
    if not tables:
        return _Sources(connector)
    name = next((name for name, path in paths.items() if path is None), "Draft")
    needed = [
        *(one for other, one in asked.items() if paths[other]),
        {"connectorId": name, "dataTypes": [*tables]},
    ]
    written = {table: one.model_dump(include={"stamped", "columns"}) for table, one in tables.items()}
    text = f"# A guess from the query: see the reference of the tables.\n{_yaml({'parsers': {}, 'tables': written})}"
    remark = f"connectors/{name}.yaml: columns and types of {', '.join(tables)} are guessed from the query; see the table's reference"
    return _Sources(
        connector, {f"connectors/{name}.yaml": text}, {"requiredDataConnectors": needed}, [remark]
    )


def _sides(query: Query, connector: Connector) -> tuple[Drafted, Drafted]:
    """The changes, and the signals beside them."""
    changes = Asked(
        "changes", "Change", query.changes, query.change_actor, query.change_time, query.output, {}
    )
    first = drafted(changes, connector)
    signals = Asked(
        "signals", "Signal", query.signals, query.signal_actor, query.signal_time, query.output, first.columns
    )
    return first, drafted(signals, connector)


def _sequence(query: Query, changes: Drafted, signals: Drafted) -> Document:
    return {
        "within": iso_duration(query.within or timedelta(days=1)),
        "windows": "watermark",
        "duplicates": "once",
        "changes": changes.text,
        "signals": signals.text,
        "output": _output(query, changes, signals),
    }


def _output(query: Query, changes: Drafted, signals: Drafted) -> list[str]:
    """The published columns, under the names that they have here, and what this job adds."""
    columns = changes.columns | signals.columns
    named = signals.renamed | {name: name for name in columns}
    published = [named[one] for one in query.output if one in named]
    own = [side.text[role] for side in (changes, signals) for role in ("time", "kind", "id")]
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
