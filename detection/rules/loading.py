"""A rule folder is read and validated: rule.yaml, the two queries, the connectors, the mapping, the exclusions."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from detection.base.errors import ConfigurationError, problems_of
from detection.rules.identity import EmailsByUser, MatchingOption
from detection.rules.model import Connector, DataConnector, Exclusions, Rule, RuleFile
from detection.rules.silences import Silence

CONTENT = Path(__file__).parents[1] / "content"


RULES = CONTENT / "rules"


CONNECTORS = CONTENT / "connectors"


# libyaml reads several times as fast; PyYAML has it wherever it comes as a wheel.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


Model = TypeVar("Model", bound=BaseModel)


Transform = Callable[[object], object]


# Functions that the local engine (duckdb-kql 1.1.2) is known to answer differently from Kusto: a rule that
# used one could not be trusted at home. tests/logs/files/test_engine.py shows each of them being wrong.
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
    "parse_json": "text that is no JSON becomes null instead of a string",
    "todatetime": "it reads words and years that Kusto does not",
    "todynamic": "text that is no JSON becomes null instead of a string",
    "toupper": "some letters have another upper case; use tolower on both sides",
}


def rule_names(root: Path = RULES) -> list[str]:
    """The names of the rule folders, sorted."""
    return sorted(path.parent.name for path in root.glob("*/rule.yaml"))


def default_rule(root: Path = RULES) -> str:
    """The name of the rule that runs when none is chosen."""
    return (root / "DEFAULT").read_text(encoding="utf-8").strip()


def _unchanged(document: object) -> object:
    return document


def load_rule(name: str, root: Path = RULES, transform: Transform = _unchanged) -> Rule:
    """The rule in folder `name`; `amend` may change what stands in rule.yaml before it is looked at.

    Raises ConfigurationError naming file and key when anything about it is wrong.
    """
    folder = root / name
    if name not in rule_names(root):
        msg = f"unknown rule {name!r}; there are: {', '.join(rule_names(root))}"
        raise ConfigurationError(msg)
    written = read_yaml(folder / "rule.yaml", RuleFile, transform)
    connectors = [_connector(data_connector, folder) for data_connector in written.required_data_connectors]
    rule = Rule.model_validate(
        dict(written)
        | {
            "folder": name,
            "sequence": written.sequence.with_key_columns(),
            "emails_by_user": _read_mapping(folder, written.sequence.identity),
            "changes_kql": _query(folder / written.sequence.changes.query),
            "signals_kql": _query(folder / written.sequence.signals.query),
            "parsers": {
                key: text.strip() for connector in connectors for key, text in connector.parsers.items()
            },
            "tables": {key: table for connector in connectors for key, table in connector.tables.items()},
        }
    )
    rule = rule.model_copy(update={"exclusions": _exclusions(folder / "exclusions.yaml", rule)})
    for side_name, side in rule.sequence.sides.items():
        if side.source not in rule.parsers.keys() | rule.tables.keys():
            msg = f"{folder / 'rule.yaml'}: sequence.{side_name}.source: {side.source} is no parser or table of its connectors"
            raise ConfigurationError(msg)
    return rule


def _read_mapping(folder: Path, options: tuple[MatchingOption, ...]) -> EmailsByUser:
    """What the file of a bridge says, if there is one."""
    return next(
        (read_mapping(folder / option.parameter) for option in options if option.kind == "mapping"), {}
    )


def _exclusions(path: Path, rule: Rule) -> tuple[Silence, ...]:
    """What the file beside the rule excludes, if there is one."""
    if not path.is_file():
        return ()
    exclusions = read_yaml(path, Exclusions).exclusions
    for exclusion in exclusions:
        if unmapped := rule.unmapped_criteria(exclusion):
            msg = f"{path}: {exclusion.name}: the rule maps no column for {', '.join(unmapped)}"
            raise ConfigurationError(msg)
    return exclusions


def connector_file(folder: Path, name: str) -> Path | None:
    """A connector's file for a rule folder: in `connectors` beside the folder of rules, or else a shipped one."""
    places = [root / name for root in (folder.parent.parent / "connectors", CONNECTORS)]
    return next((path for path in places if path.is_file()), None)


def _connector(data_connector: DataConnector, folder: Path) -> Connector:
    location = f"{folder / 'rule.yaml'}: requiredDataConnectors"
    name = f"{data_connector.connector_id}.yaml"
    path = connector_file(folder, name)
    if not re.fullmatch(r"\w+", data_connector.connector_id) or path is None:
        msg = f"{location}: there is no connectors/{name}"
        raise ConfigurationError(msg)
    connector = read_yaml(path, Connector)
    missing = [table for table in data_connector.data_types if table not in connector.tables]
    if missing:
        msg = f"{location}: connectors/{path.name} has no table {', '.join(missing)}"
        raise ConfigurationError(msg)
    return connector


def read_yaml(path: Path, model: type[Model], transform: Transform = _unchanged) -> Model:
    """A YAML file as a model. Raises ConfigurationError naming file and key."""
    try:
        return model.model_validate(transform(yaml.load(path.read_text(encoding="utf-8"), _LOADER)))  # noqa: S506, a safe loader
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as YAML: {error}"
        raise ConfigurationError(msg) from error
    except ValidationError as error:
        msg = f"{path}: {problems_of(error)}"
        raise ConfigurationError(msg) from error


def _query(path: Path) -> str:
    if not path.is_file():
        msg = f"{path}: the rule names this query file, but it is not there"
        raise ConfigurationError(msg)
    text = path.read_text(encoding="utf-8").strip()
    refused = [
        name for name in REFUSED_FUNCTIONS if re.search(rf"\b{re.escape(name)}\s*\(", without_comments(text))
    ]
    if refused:
        reasons = "; ".join(f"{name}: {REFUSED_FUNCTIONS[name]}" for name in refused)
        msg = f"{path}: uses what the local engine does not answer as Kusto does: {reasons}"
        raise ConfigurationError(msg)
    return text


def without_comments(kql: str) -> str:
    """The query without its comments; two slashes inside a text are none."""
    return re.sub(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|//[^\n]*""", lambda token: token[1] or "", kql)


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule folder at a glance; `problem` says what is wrong with one that is not valid."""

    rule: str
    valid: bool
    default: bool
    name: str
    severity: str
    problem: str


def statuses(root: Path = RULES) -> list[RuleStatus]:
    """Every rule folder, loaded if it can be."""
    return [_status(name, root) for name in rule_names(root)]


def _status(name: str, root: Path) -> RuleStatus:
    default = (root / "DEFAULT").is_file() and name == default_rule(root)
    try:
        rule = load_rule(name, root)
    except ConfigurationError as error:
        return RuleStatus(name, valid=False, default=default, name="", severity="", problem=str(error))
    return RuleStatus(name, valid=True, default=default, name=rule.name, severity=rule.severity, problem="")


MAPPING_BYTES = 4 * 2**20  # of a mapping file: some 60,000 lines, read anew on every cold start


MAPPING_HEADER = ["email", "user"]


def read_mapping(path: Path) -> EmailsByUser:
    """The e-mails by runtime identity, from a CSV file with the columns email and user; both in lower case.

    Raises ConfigurationError naming file and line, and shows no value: they name people, and may be salted hashes.
    """
    try:
        text = path.read_bytes()[: MAPPING_BYTES + 1]
    except OSError:
        raise ConfigurationError(
            f"{path}: the rule's identity names this file, but it is not there"
        ) from None
    if len(text) > MAPPING_BYTES:
        raise ConfigurationError(f"{path}: is larger than {MAPPING_BYTES:,} bytes")
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}: line {line}: is no UTF-8") from None
    return _parse_mapping(path, lines)


def _parse_mapping(path: Path, lines: Sequence[str]) -> EmailsByUser:
    lines_by_pair: dict[tuple[str, str], int] = {}
    records = csv.reader(lines, strict=True)
    try:
        if next(records, None) != MAPPING_HEADER:
            raise ConfigurationError(f"{path}: line 1: must be email,user")
        for record in records:
            if problem := _problem(record, lines_by_pair, records.line_num):
                raise ConfigurationError(f"{path}: line {records.line_num}: {problem}")
    except csv.Error:
        raise ConfigurationError(f"{path}: line {records.line_num}: is no CSV") from None
    if not lines_by_pair:
        raise ConfigurationError(f"{path}: has no line below its header")
    emails_by_user: dict[str, list[str]] = {}
    for email, user in lines_by_pair:
        emails_by_user.setdefault(user, []).append(email)
    return emails_by_user


def _problem(record: Sequence[str], lines_by_pair: dict[tuple[str, str], int], line: int) -> str:
    """What is wrong with a line of a mapping; a sound one is known afterwards."""
    cells = [cell.strip().lower() for cell in record]
    if len(cells) != 2:
        return f"has {len(cells)} cells instead of 2"
    if not all(cells):
        return f"its {MAPPING_HEADER[cells.index('')]} is empty"
    first_line = lines_by_pair.setdefault((cells[0], cells[1]), line)
    return "" if first_line == line else f"says the same as line {first_line}"
