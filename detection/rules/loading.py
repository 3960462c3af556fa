"""Reads and validates a rule folder: rule.yaml, the queries, connectors, mapping and exclusions."""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel, ValidationError

from detection.base.errors import ConfigurationError, error_sentence, problems_of
from detection.base.yaml_documents import read_document
from detection.rules.identity import EmailsByUser
from detection.rules.model import Connector, Exclusions, Rule, RuleFile

CONTENT = Path(__file__).parents[1] / "content"
RULES = CONTENT / "rules"
CONNECTORS = CONTENT / "connectors"
NAME_LENGTH = 100  # characters of the name of a rule folder or a connector
# The name is the rule's partition of the incident table, an entry of RULES, and part of every alert id.
FOLDER_NAME = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{NAME_LENGTH - 1}}}"
MAPPING_BYTES = 4 * 2**20  # of a mapping file: some 60,000 lines, read on every cold start
MAPPING_HEADER = ["email", "user"]

Model = TypeVar("Model", bound=BaseModel)
Transform = Callable[[object], object]

# Functions that the local engine (duckdb-kql 1.1.2) evaluates differently from Kusto. A rule that used such a
# function could not be tested on files. tests/logs/files/test_engine.py shows the difference for each of
# them.
REFUSED_FUNCTIONS = {
    "array_concat": "its text is not always JSON",
    "array_sort_asc": "numbers are sorted as text",
    "array_sort_desc": "numbers are sorted as text",
    "base64_decode_tostring": "bytes that are not UTF-8 come out as text",
    "base64_decodestring": "bytes that are not UTF-8 come out as text",
    "coalesce": "a JSON null counts as a value; use iff(isempty(...), ...)",
    "datetime_diff": "weeks are counted differently",
    "dcount": "exact here, an estimate in the cloud",
    "dcountif": "exact here, an estimate in the cloud",
    "make_list": "its limit is ignored and a JSON null is kept",
    "make_set": "its limit is ignored and a JSON null is kept",
    "parse_json": "text that is not JSON becomes null instead of a string",
    "todatetime": "it reads words and years that Kusto does not",
    "todynamic": "text that is not JSON becomes null instead of a string",
    "toupper": "some letters have another upper case; use tolower on both sides",
}


def rule_names(root: Path = RULES) -> list[str]:
    """The names of the rule folders, sorted."""
    return sorted(path.parent.name for path in root.glob("*/rule.yaml"))


def default_rule(root: Path = RULES) -> str:
    """The name of the rule that runs if no rule is chosen."""
    return (root / "DEFAULT").read_text(encoding="utf-8").strip()


def _unchanged(document: object) -> object:
    return document


def load_rule(name: str, root: Path = RULES, transform: Transform = _unchanged) -> Rule:
    """The rule in folder `name`. `transform` may change the content of rule.yaml before it is validated.

    Raises ConfigurationError that names file and key.
    """
    folder = root / name
    if name not in rule_names(root):
        raise ConfigurationError(f"unknown rule {name!r}; there are: {', '.join(rule_names(root))}")
    if not re.fullmatch(FOLDER_NAME, name):
        raise ConfigurationError(
            f"{name!r} cannot name a rule folder; rename the folder: 1 to {NAME_LENGTH} letters (a to z), "
            "digits, dots, underscores and hyphens, and a letter or digit first"
        )
    written = read_yaml(folder / "rule.yaml", RuleFile, transform)
    connectors: list[Connector] = []
    for data_connector in written.required_data_connectors:
        location = f"{folder / 'rule.yaml'}: requiredDataConnectors"
        file_name = f"{data_connector.connector_id}.yaml"
        is_name = re.fullmatch(rf"\w{{1,{NAME_LENGTH}}}", data_connector.connector_id, re.ASCII)
        path = connector_file(folder, file_name) if is_name else None
        if path is None:
            raise ConfigurationError(f"{location}: there is no connectors/{file_name}")
        connector = read_yaml(path, Connector)
        if missing := [table for table in data_connector.data_types if table not in connector.tables]:
            raise ConfigurationError(f"{location}: connectors/{path.name} has no table {', '.join(missing)}")
        connectors.append(connector)
    mappings = [option.parameter for option in written.sequence.identity if option.kind == "mapping"]
    rule = Rule.model_validate(
        dict(written)
        | {
            "folder": name,
            "sequence": written.sequence.with_key_columns(),
            "emails_by_user": read_mapping(folder / mappings[0]) if mappings else {},
            "changes_kql": _query(folder / written.sequence.changes.query),
            "signals_kql": _query(folder / written.sequence.signals.query),
            "parsers": {
                key: text.strip() for connector in connectors for key, text in connector.parsers.items()
            },
            "tables": {key: table for connector in connectors for key, table in connector.tables.items()},
            "change_types": {
                key: change_type.model_copy(
                    update={"calls": tuple(f"{connector.command} {call}" for call in change_type.calls)}
                )
                for connector in connectors
                for key, change_type in connector.changes.items()
            },
        }
    )
    exclusions_path = folder / "exclusions.yaml"
    exclusions = read_yaml(exclusions_path, Exclusions).exclusions if exclusions_path.is_file() else ()
    for exclusion in exclusions:
        if unmapped := rule.unmapped_criteria(exclusion):
            raise ConfigurationError(
                f"{exclusions_path}: {exclusion.name}: the rule maps no column for {', '.join(unmapped)}"
            )
    for side_name, side in rule.sequence.sides.items():
        if side.source not in rule.parsers.keys() | rule.tables.keys():
            raise ConfigurationError(
                f"{folder / 'rule.yaml'}: sequence.{side_name}.source: "
                f"{side.source} is not a parser or table of the rule's connectors"
            )
    return rule.model_copy(update={"exclusions": exclusions})


@dataclass(frozen=True, slots=True)
class RuleFault:
    """A rule of the settings that cannot run: its folder is not valid, or does not fit the settings."""

    folder: str
    error: Exception

    @property
    def text(self) -> str:
        """The fault as a sentence for the user."""
        return f"{self.folder} does not run: {error_sentence(self.error)}"


def placeholder_rule(folder: str) -> Rule:
    """Names a rule that cannot be loaded, for its messages and the page. It has no queries and no columns."""
    names: dict[str, Any] = {"folder": folder, "name": folder, "id": UUID(int=0), "description": ""}
    return Rule.model_construct(**names, version="", severity="High")


def connector_file(folder: Path, name: str) -> Path | None:
    """The file of a connector: in `connectors` next to the folder of rules, or else the shipped file."""
    places = [root / name for root in (folder.parent.parent / "connectors", CONNECTORS)]
    return next((path for path in places if path.is_file()), None)


def read_yaml(path: Path, model: type[Model], transform: Transform = _unchanged) -> Model:
    """A YAML file as a model. Raises ConfigurationError that names file and key."""
    try:
        return model.model_validate(transform(read_document(path)))
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {problems_of(error)}") from error


def _query(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: the rule names this query file, but it is not there") from None
    except (OSError, ValueError) as error:  # ValueError: its name has a null character, or it is not UTF-8
        raise ConfigurationError(f"{path}: the query cannot be read as UTF-8 text: {error}") from error
    refused = [
        name for name in REFUSED_FUNCTIONS if re.search(rf"\b{re.escape(name)}\s*\(", without_comments(text))
    ]
    if refused:
        reasons = "; ".join(f"{name}: {REFUSED_FUNCTIONS[name]}" for name in refused)
        raise ConfigurationError(
            f"{path}: uses functions that the local engine evaluates differently from Kusto: {reasons}"
        )
    return text


def without_comments(kql: str) -> str:
    """The query without its comments. Two slashes inside a text literal are not a comment."""
    return re.sub(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//[^\n]*""", lambda token: token[1] or "", kql)


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """The status of a rule folder. `problem` is the error of a folder that is not valid."""

    rule: str
    valid: bool
    default: bool
    name: str
    severity: str
    problem: str


def statuses(root: Path = RULES) -> list[RuleStatus]:
    """The status of every rule folder. Next to rule folders, a folder without a rule.yaml is invalid."""
    default = default_rule(root) if (root / "DEFAULT").is_file() else None
    statuses: list[RuleStatus] = []
    for name in rule_names(root):
        rule_name, severity, problem = "", "", ""
        try:
            rule = load_rule(name, root)
            rule_name, severity = rule.name, rule.severity
        except ConfigurationError as error:
            problem = str(error)
        text = name.encode(errors="backslashreplace").decode()  # the file system allows any bytes
        statuses.append(RuleStatus(text, not problem, name == default, rule_name, severity, problem))
    folders = [path for path in root.glob("[!.]*/") if statuses and not (path / "rule.yaml").exists()]
    return statuses + [
        RuleStatus(path.name, False, path.name == default, "", "", f"{path}: has no rule.yaml")  # noqa: FBT003
        for path in sorted(folders)
        if path.is_dir()
    ]


def read_mapping(path: Path) -> EmailsByUser:
    """The e-mails by runtime identity, from a CSV file with the columns email and user; both in lower case.

    Raises ConfigurationError that names file and line but shows no value: values name people, or are salted
    hashes.
    """
    try:
        text = path.read_bytes()[: MAPPING_BYTES + 1]
    except OSError:
        raise ConfigurationError(
            f"{path}: the rule's identity names this file, but it is not there"
        ) from None
    if len(text) > MAPPING_BYTES:
        raise ConfigurationError(f"{path}: must not be larger than {MAPPING_BYTES:,} bytes")
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}: line {line}: is not UTF-8") from None
    line_by_pair: dict[tuple[str, ...], int] = {}
    records = csv.reader(lines, strict=True)
    try:
        if next(records, None) != MAPPING_HEADER:
            raise ConfigurationError(f"{path}: line 1: must be email,user")
        for record in records:
            pair, line = tuple(cell.strip().lower() for cell in record), records.line_num
            if len(pair) != 2:
                raise ConfigurationError(f"{path}: line {line}: has {len(pair)} cells instead of 2")
            if not all(pair):
                raise ConfigurationError(
                    f"{path}: line {line}: its {MAPPING_HEADER[pair.index('')]} is empty"
                )
            if (first_line := line_by_pair.setdefault(pair, line)) != line:
                raise ConfigurationError(f"{path}: line {line}: repeats line {first_line}; remove it")
    except csv.Error:
        raise ConfigurationError(f"{path}: line {records.line_num}: is not CSV") from None
    if not line_by_pair:
        raise ConfigurationError(f"{path}: has no line below its header; add a line for each pair")
    emails_by_user: dict[str, list[str]] = {}
    for email, user in line_by_pair:
        emails_by_user.setdefault(user, []).append(email)
    return emails_by_user
