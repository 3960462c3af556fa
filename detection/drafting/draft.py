"""Draft the files of a rule folder from a published rule, with remarks on the work that is left."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from detection.base.errors import ConfigurationError
from detection.base.yaml_documents import read_document
from detection.drafting.connector import find_sources
from detection.drafting.fields import draft_fields, iso_duration
from detection.drafting.query import parse_query
from detection.drafting.side import SideDraft, SideDrafter
from detection.logs.files.binding import require_queries_bind
from detection.rules.loading import NAME_LENGTH, RULES, load_rule, read_yaml
from detection.rules.model import DataConnector, EntityMapping


@dataclass(frozen=True, slots=True)
class Draft:
    """The files of a draft by path, from the parent of rules/ and connectors/, and remarks for its author."""

    name: str
    files: Mapping[str, str]
    remarks: Sequence[str]


class _IncidentConfiguration(BaseModel):
    model_config = ConfigDict(extra="allow")

    groupingConfiguration: dict[str, Any] = {}  # noqa: N815  # Sentinel's name


class _PublishedRule(BaseModel):
    """The shape that a draft needs of a published rule; draft_fields converts the other fields."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    query: str
    requiredDataConnectors: list[DataConnector] = []  # noqa: N815  # Sentinel's names
    entityMappings: list[EntityMapping] = []  # noqa: N815
    incidentConfiguration: _IncidentConfiguration = _IncidentConfiguration()  # noqa: N815


_FIRST_TEST = """\
about: The first cases of the draft. docs/rules.md describes the format.
cases:
- name: no logs, no alert
  events: []
  rows: 0
  alerts: 0
# - name: a change, then a signal
#   events:
#   - {TableOrObject: {Column: value}, at: -PT2H}
#   - {TableOrObject: {Column: value}, at: -PT1H}
#   rows: 1
"""


def make_draft(path: Path, out: Path = RULES.parent) -> Draft:
    """Draft a published rule from its YAML file; connectors in `out` are known.

    Raises ConfigurationError naming the file if the rule is not a join of two sources.
    """
    read_yaml(path, _PublishedRule)
    published: Any = read_document(path)
    try:
        query = parse_query(published["query"])
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    sources = find_sources(published, query, out)
    changes = SideDrafter("changes", query.changes, query.output, sources.connector, {}).draft()
    signals = SideDrafter("signals", query.signals, query.output, sources.connector, changes.columns).draft()
    columns = changes.columns | signals.columns
    new_names = signals.renamed | {name: name for name in columns}
    output = [new_names[name] for name in query.output if name in new_names]
    output += [side.rule_part[role] for side in (changes, signals) for role in ("time", "kind", "id")]
    fields, field_remarks = draft_fields(
        published | sources.rule_fields, _text_columns(changes) | _text_columns(signals)
    )
    fields["sequence"] = {
        "within": iso_duration(query.within or timedelta(days=1)),
        "windows": "watermark",
        "duplicates": "once",
        "changes": changes.rule_part,
        "signals": signals.rule_part,
        "output": list(dict.fromkeys(output)),
    }
    remarks = [*query.remarks, *changes.remarks, *signals.remarks, *field_remarks, *sources.remarks]
    remarks = list(dict.fromkeys(" ".join(remark.split()) for remark in remarks))
    header = f"# Drafted from {path.name}. A label puts a kind into words: `kind: created an API key`.\n"
    if remarks:
        header += "".join(["# To do:\n", *(f"#   - {remark}\n" for remark in remarks)])
    name = re.sub(r"[^a-z0-9]+", "-", str(published.get("name", "draft")).lower()).strip("-")
    name = name[:NAME_LENGTH].rstrip("-") or "draft"
    files = {
        f"connectors/{connector}.yaml": f"# Guessed from the query: check it.\n{_to_yaml(document)}"
        for connector, document in sources.guesses.items()
    }
    files |= {
        f"rules/{name}/rule.yaml": header + _to_yaml(fields),
        f"rules/{name}/changes.kql": f"{changes.kql}\n",
        f"rules/{name}/signals.kql": f"{signals.kql}\n",
        f"rules/{name}/tests/first.yaml": _FIRST_TEST,
    }
    return Draft(name, files, remarks)


def _text_columns(side: SideDraft) -> dict[str, str]:
    """The side's text columns, also by their names in the published output."""
    texts = {name: name for name, kind in side.columns.items() if kind == "string"}
    return texts | {old: new for old, new in side.renamed.items() if new in texts and old.endswith("1")}


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def _to_yaml(document: dict[str, Any]) -> str:
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


def write_draft(draft: Draft, out: Path) -> Path:
    """Write the files and return the rule's folder. Raises ConfigurationError if one of them exists."""
    existing = [out / name for name in draft.files if (out / name).exists()]
    if existing:
        raise ConfigurationError(f"{existing[0]} already exists; nothing was written. Choose another --out")
    try:
        for name, text in draft.files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written to: {error.strerror}") from error
    return out / "rules" / draft.name


def problem_of(folder: Path) -> str:
    """The error in a rule folder or in its queries; empty if it is valid."""
    try:
        require_queries_bind(load_rule(folder.name, folder.parent), folder)
    except ConfigurationError as error:
        return str(error)
    return ""
