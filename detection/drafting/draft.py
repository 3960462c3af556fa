"""The line: a published rule → its query, understood → two sides → the files of a rule folder, and what is left to do."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from detection.base.errors import ConfigurationError
from detection.drafting.fields import draft_fields, iso_duration
from detection.drafting.guess import guess_tables, with_tables
from detection.drafting.query import Query, parse_query
from detection.drafting.side import SideDraft, SideInput, draft_side
from detection.rules.loading import RULES, connector_file, load_rule, read_yaml
from detection.rules.model import Connector, DataConnector, EntityMapping

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """The files of a draft by their path, relative to the folder of rules and connectors, and remarks for its author."""

    name: str
    files: Mapping[str, str]
    remarks: Sequence[str]


def make_draft(path: Path, out: Path = RULES.parent) -> Draft:
    """The draft of a published rule's YAML; connectors in `out` are known. Raises ConfigurationError where there can be none."""
    published = _load_document(path)
    query = _parse(path, published["query"])
    sources = _sources(published, query, out)
    changes, signals = _sides(query, sources.connector)
    fields, field_remarks = draft_fields(
        published | sources.rule_fields, _text_columns(changes) | _text_columns(signals)
    )
    remarks = [*query.remarks, *changes.remarks, *signals.remarks, *field_remarks, *sources.remarks]
    remarks = list(dict.fromkeys(remarks))
    name = re.sub(r"[^a-z0-9]+", "-", str(published.get("name", "draft")).lower()).strip("-") or "draft"
    files = {
        "rule.yaml": _header(path, remarks)
        + _yaml(fields | {"sequence": _sequence(query, changes, signals)}),
        "changes.kql": f"{changes.kql}\n",
        "signals.kql": f"{signals.kql}\n",
        "tests/first.yaml": _FIRST_TEST,
    }
    return Draft(
        name, sources.files | {f"rules/{name}/{file}": text for file, text in files.items()}, remarks
    )


def _parse(path: Path, text: str) -> Query:
    try:
        return parse_query(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error


class _IncidentConfiguration(BaseModel):
    model_config = ConfigDict(extra="allow")

    groupingConfiguration: dict[str, Any] = {}  # noqa: N815  # Sentinel's name


class _PublishedRule(BaseModel):
    """What of a published rule has to be of the right shape; the rest is looked at field by field."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    query: str
    requiredDataConnectors: list[DataConnector] = []  # noqa: N815  # Sentinel's names
    entityMappings: list[EntityMapping] = []  # noqa: N815
    incidentConfiguration: _IncidentConfiguration = _IncidentConfiguration()  # noqa: N815


def _load_document(path: Path) -> Document:
    read_yaml(path, _PublishedRule)
    document: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the sides start from; a guess comes with its file, the rule's connectors with it among them, and a remark."""

    connector: Connector
    files: dict[str, str] = field(default_factory=dict)
    rule_fields: Document = field(default_factory=dict)
    remarks: Sequence[str] = ()


def _sources(published: Document, query: Query, out: Path) -> _Sources:
    required_connectors = {
        required["connectorId"]: required
        for required in published.get("requiredDataConnectors", [])
        if re.fullmatch(r"\w+", required["connectorId"])  # it becomes a file's name
    }
    paths = {name: connector_file(out / "rules" / "draft", f"{name}.yaml") for name in required_connectors}
    known_connectors = [read_yaml(path, Connector) for path in paths.values() if path]
    sources = {
        name
        for known_connector in known_connectors
        for name in (*known_connector.parsers, *known_connector.tables)
    }
    sides = ((query.changes, query.change_actor), (query.signals, query.signal_actor))
    tables = guess_tables([side for side in sides if side[0].source not in sources])
    connector = with_tables(known_connectors, tables)
    if not tables:
        return _Sources(connector)
    name = next((name for name, path in paths.items() if path is None), "Draft")
    needed_connectors = [
        *(required for connector_id, required in required_connectors.items() if paths[connector_id]),
        {"connectorId": name, "dataTypes": [*tables]},
    ]
    table_documents = {
        table: guessed_table.model_dump(include={"stamped", "columns"})
        for table, guessed_table in tables.items()
    }
    text = f"# A guess from the query: see the reference of the tables.\n{_yaml({'parsers': {}, 'tables': table_documents})}"
    remark = f"connectors/{name}.yaml: columns and types of {', '.join(tables)} are guessed from the query; see the table's reference"
    return _Sources(
        connector, {f"connectors/{name}.yaml": text}, {"requiredDataConnectors": needed_connectors}, [remark]
    )


def _sides(query: Query, connector: Connector) -> tuple[SideDraft, SideDraft]:
    """The changes, and the signals beside them."""
    changes = SideInput(
        "changes", "Change", query.changes, query.change_actor, query.change_time, query.output, {}
    )
    change_draft = draft_side(changes, connector)
    signals = SideInput(
        "signals",
        "Signal",
        query.signals,
        query.signal_actor,
        query.signal_time,
        query.output,
        change_draft.columns,
    )
    return change_draft, draft_side(signals, connector)


def _sequence(query: Query, changes: SideDraft, signals: SideDraft) -> Document:
    return {
        "within": iso_duration(query.within or timedelta(days=1)),
        "windows": "watermark",
        "duplicates": "once",
        "changes": changes.sequence_part,
        "signals": signals.sequence_part,
        "output": _output_columns(query, changes, signals),
    }


def _output_columns(query: Query, changes: SideDraft, signals: SideDraft) -> list[str]:
    """The published columns, under the names that they have here, and what this job adds."""
    columns = changes.columns | signals.columns
    new_names = signals.renamed | {name: name for name in columns}
    published = [new_names[column] for column in query.output if column in new_names]
    role_columns = [
        side.sequence_part[role] for side in (changes, signals) for role in ("time", "kind", "id")
    ]
    return list(dict.fromkeys([*published, *(column for column in role_columns if column in columns)]))


def _text_columns(side: SideDraft) -> dict[str, str]:
    """The side's text columns, also by the names that they had in the published output."""
    texts = {name: name for name, kind in side.columns.items() if kind == "string"}
    return texts | {old: new for old, new in side.renamed.items() if new in texts and old.endswith("1")}


def _header(path: Path, remarks: Sequence[str]) -> str:
    lines = [f"Drafted from {path.name}. Labels say in words what a kind is: kind: created an API key."]
    lines += (
        ["What the draft does not say:", *(f"  - {remark}" for remark in dict.fromkeys(remarks))]
        if remarks
        else []
    )
    return "".join(f"# {' '.join(line.split())}\n" if line[0] != " " else f"#{line}\n" for line in lines)


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


def write_draft(draft: Draft, out: Path) -> Path:
    """Writes the files; returns the rule's folder. Raises ConfigurationError where one is there already."""
    existing = [out / name for name in draft.files if (out / name).exists()]
    if existing:
        raise ConfigurationError(f"{existing[0]} is there already; nothing was written")
    try:
        for name, text in draft.files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written to: {error.strerror}") from error
    return out / "rules" / draft.name


def problem_of(folder: Path) -> str:
    """What is wrong with a rule folder; empty if it is valid."""
    try:
        load_rule(folder.name, folder.parent)
    except ConfigurationError as error:
        return str(error)
    return ""
