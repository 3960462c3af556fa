"""infra/main.bicepparam, evaluated as azd and the Azure CLI evaluate it: every parameter arrives, under the variable that is
named in docs/deploy.md, as it was written or not at all.
"""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detection.base.ncrontab import parse_schedule
from tests.infra.compiler import bicep
from tests.infra.deployed import REQUIRED, deployed, evaluated
from tests.infra.parameters import (
    INFRA,
    PAGE,
    VARIABLES,
    Definition,
    RefusedError,
    declared,
    definitions,
    page,
    values,
    variables,
)
from tests.infra.snapshots import Resource, snapshot

FILE = INFRA / "main.bicepparam"
TEXT = FILE.read_text(encoding="utf-8")
PARAMETERS = declared((INFRA / "main.bicep").read_text(encoding="utf-8"))
SCHEDULES = {"detectSchedule", "deliverSchedule"}
# All that shells, azd's .env, JSON and Bicep read as something else.
HOSTILE = "'\"\\ \\n\n\t$X ${X} ${{a}} %X% `x` [x] ä🔔"


def refusal(environment: dict[str, str]) -> str:
    """What the compiler says of values that are refused."""
    with pytest.raises(RefusedError) as error:
        values({**REQUIRED, **environment})
    return str(error.value)


# ------------------------------------------------------------------------------------------------------- every one


def unread(template: str, parameters_file: str) -> list[str]:
    """The parameters of a template that a parameters file reads from no variable."""
    return [name for name in declared(template) if name not in variables(parameters_file)]


def test_every_parameter_is_read_from_a_variable() -> None:
    assert unread((INFRA / "main.bicep").read_text(encoding="utf-8"), TEXT) == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_that_is_read_from_no_variable_is_found(name: str) -> None:
    lines = [line for line in TEXT.splitlines() if not line.startswith((f"param {name} ", "  "))]
    assert name in unread(f"param {name} string\n", "\n".join(lines))


def test_values_are_in_the_order_of_the_template_and_for_nothing_else() -> None:
    assert list(VARIABLES) == PARAMETERS


def test_no_two_parameters_share_a_variable() -> None:
    assert len(set(VARIABLES.values())) == len(VARIABLES)


@pytest.mark.infra
def test_compiler_has_nothing_to_say_of_the_file() -> None:
    completed = bicep("lint", FILE, environment={**dict.fromkeys(VARIABLES.values(), ""), **REQUIRED})
    assert completed.stdout + completed.stderr == ""


@pytest.mark.infra
def test_layout_of_the_file_is_canonical() -> None:
    assert bicep("format", FILE, "--stdout").stdout == TEXT


# -------------------------------------------------------------------------------------------------------- not set


@pytest.mark.infra
def test_what_is_not_set_has_the_default_of_the_template() -> None:
    defaults = {
        name: definition["defaultValue"]
        for name, definition in definitions().items()
        if "defaultValue" in definition
    }
    evaluation = values(REQUIRED)
    assert {name: evaluation[name] for name in defaults} == defaults
    assert {VARIABLES[name] for name in evaluation if name not in defaults} == set(REQUIRED)


@pytest.mark.infra
def test_what_is_empty_or_blank_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    optional = set(VARIABLES.values()) - set(REQUIRED)
    for variable in optional:
        monkeypatch.delenv(variable, raising=False)
    completed = bicep("build-params", FILE, "--stdout", environment=REQUIRED)
    unset = json.loads(json.loads(completed.stdout)["parametersJson"])["parameters"]
    assert {name: parameter["value"] for name, parameter in unset.items()} == values(REQUIRED)
    assert values(REQUIRED) == values({**REQUIRED, **dict.fromkeys(optional, " \n")})


@pytest.mark.infra
def test_required_variables_that_are_not_set_are_named() -> None:
    error = refusal(dict.fromkeys(REQUIRED, ""))
    assert [name for name in REQUIRED if not re.search(rf'": {name} must be ', error)] == []


# ------------------------------------------------------------------------------------------------------- free text


def hostile(definition: Definition) -> str:
    """A text that could be taken for something else, as long as a parameter demands."""
    return HOSTILE * (4 if definition.get("minLength", 0) > len(HOSTILE) else 1)


@pytest.mark.infra
def test_free_text_arrives_as_it_was_written() -> None:
    kinds = {"string", "securestring"}
    free = {
        name: definition
        for name, definition in definitions().items()
        if definition["type"] in kinds and "allowedValues" not in definition and name not in SCHEDULES
    }
    written = {name: hostile(definition) for name, definition in free.items()}
    evaluation = values({VARIABLES[name]: text for name, text in written.items()})
    assert {name: evaluation[name] for name in written} == written


@pytest.mark.infra
def test_white_space_around_a_text_is_cut() -> None:
    assert values({**REQUIRED, "WEBHOOK_URL": " https://example.com/hook\r\n"})["webhookUrl"] == (
        "https://example.com/hook"
    )


@pytest.mark.infra
def test_tags_are_written_as_name_and_value() -> None:
    tags = "owner=soc, cost center = 4711,query=a=b,empty=,äø=\"'\\$X ${X}"
    assert values({**REQUIRED, "TAGS": tags})["tags"] == {
        "owner": "soc",
        "cost center": "4711",
        "query": "a=b",
        "empty": "",
        "äø": "\"'\\$X ${X}",
    }


# ------------------------------------------------------------------------------------------------------ constrained


def valid(definition: Definition) -> dict[str, Any]:
    """Texts that a constrained parameter takes, and what becomes of them."""
    match definition:
        case {"type": "bool"}:
            return {"true": True, "false": False, "True": True, " FALSE\n": False}
        case {"type": "int", "minValue": low, "maxValue": high}:
            return {str(low): low, f" {high}\n": high}
        case {"allowedValues": allowed}:
            return {str(value): value for value in allowed if value != ""}
        case {"type": "string", "minLength": low, **bounds} if low > 1:
            return {"x" * size: "x" * size for size in (low, bounds.get("maxLength", low + 1))}
    return {}


def invalid(definition: Definition) -> list[str]:
    """Texts that a parameter does not take."""
    match definition:
        case {"type": "bool"}:
            texts = ["yes", "1", "0", "truth", "null"]
        case {"type": "int", "minValue": low, "maxValue": high}:
            texts = [str(low - 1), str(high + 1), "many", f"{low}.5", "9" * 20, "²"]
        case {"allowedValues": allowed}:
            texts = ["other", *(f"{value}x" for value in allowed), str(allowed[-1]).upper() + "!"]
        case {"type": "object"}:
            texts = ["owner", "=soc", "owner=soc,", '{"owner":"soc"}', " =soc"]
        case {"type": "securestring"}:
            texts = ["akvs://made-up/vault/secret"]
        case _:
            sizes = (definition.get("minLength", 1) - 1, definition.get("maxLength", -1) + 1)
            texts = ["x" * size for size in sizes if size]
    return texts


def rounds(texts: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Every text of every parameter once, many parameters to a call of the compiler."""
    for turn in range(max(map(len, texts.values()))):
        yield {name: options[turn] for name, options in texts.items() if turn < len(options)}


@pytest.mark.infra
def test_every_valid_value_arrives_typed() -> None:
    options = {name: valid(definition) for name, definition in definitions().items() if name not in SCHEDULES}
    for texts in rounds({name: list(texts) for name, texts in options.items()}):
        evaluation = values({**REQUIRED, **{VARIABLES[name]: text for name, text in texts.items()}})
        arrived = {name: evaluation[name] for name in texts}
        assert json.dumps(arrived) == json.dumps({name: options[name][text] for name, text in texts.items()})


@pytest.mark.infra
def test_invalid_value_is_refused_under_the_name_of_its_variable() -> None:
    for texts in rounds({name: invalid(definition) for name, definition in definitions().items()}):
        error = refusal({VARIABLES[name]: text for name, text in texts.items()})
        assert [
            name for name in texts if not re.search(rf'"{name}": {VARIABLES[name]} (must|refers)', error)
        ] == []


@pytest.mark.infra
def test_refusal_says_what_is_allowed() -> None:
    texts = {name: invalid(definition)[:1] for name, definition in definitions().items()}
    error = refusal({VARIABLES[name]: text[0] for name, text in texts.items() if text})
    for name, definition in definitions().items():
        allowed = [
            *definition.get("allowedValues", []),
            *([True, False] if definition["type"] == "bool" else []),
        ]
        bounds = [definition[bound] for bound in ("minValue", "maxValue") if bound in definition]
        (line,) = [line for line in error.splitlines() if f'"{name}": ' in line] if texts[name] else [""]
        assert [value for value in [*allowed, *bounds] if str(value).lower() not in line] == []


@pytest.mark.infra
def test_refusal_shows_no_secret() -> None:
    assert "made-up" not in refusal(
        {
            VARIABLES[name]: "akvs://made-up"
            for name, definition in definitions().items()
            if definition["type"] == "securestring"
        }
    )


# --------------------------------------------------------------------------------------------------------- schedules

TEXTS_OF_FIELDS = ["*", "0", "5", "31", "59", "*/5", "2/5", "10-20/5,59", "20-10", "007", "1,2,3"]
MORE_TEXTS = [
    "24",
    "60",
    "7",
    "13",
    "?",
    "-5",
    "5,",
    "*-10",
    "1-2-3",
    "5/",
    "5/-1",
    "5/+1",
    "5//1",
    "70/5",
    "1234567890",
]
WORDS = ["Mon-Fri", "sunday,SAT", "jan,JUL,m", "someday", "m", "december", "decembers", ""]


def schedules() -> list[str]:
    """Schedules with every text in every field, of five fields and of six, and some that are none."""
    texts = [*TEXTS_OF_FIELDS, *MORE_TEXTS, *WORDS]
    whole = [
        " ".join([*["*"] * i, text, *["*"] * (n - i - 1)]) for n in (5, 6) for i in range(n) for text in texts
    ]
    return [
        *whole,
        "",
        "*",
        "* * * *",
        "* * * * * * *",
        "@hourly",
        "0  5 * * * * ",
        "0 5 *\t* * * *",
        "a b c d e f",
    ]


def is_schedule(text: str) -> bool:
    """Whether the job's own reading of the host's rules takes a schedule."""
    try:
        parse_schedule(text)
    except ValueError:
        return False
    return True


@pytest.mark.infra
def test_schedules_are_taken_as_the_job_takes_them(tmp_path: Path) -> None:
    shutil.copy(INFRA / "schedule.bicep", tmp_path)
    (tmp_path / "main.bicep").write_text("param verdicts bool[]\n", encoding="utf-8")
    values_file = tmp_path / "main.bicepparam"
    values_file.write_text(
        "using 'main.bicep'\nimport { isSchedule } from 'schedule.bicep'\n"
        "param verdicts = map(json(readEnvironmentVariable('SCHEDULES')), schedule => isSchedule(schedule))\n",
        encoding="utf-8",
    )
    texts = schedules()
    completed = bicep("build-params", values_file, "--stdout", environment={"SCHEDULES": json.dumps(texts)})
    parameters = json.loads(json.loads(completed.stdout)["parametersJson"])["parameters"]
    verdicts = dict(zip(texts, parameters["verdicts"]["value"], strict=True))
    assert verdicts == {text: is_schedule(text) for text in texts}
    assert Counter(verdicts.values())[True] > 100


@pytest.mark.infra
@pytest.mark.parametrize("text", ["0 0 24 * * *", "01:00:00", "hourly"])
def test_schedule_that_the_host_refuses_is_refused(text: str) -> None:
    error = refusal({"DETECT_SCHEDULE": text, "DELIVER_SCHEDULE": text})
    assert re.findall(r"(\w+)_SCHEDULE must be an NCRONTAB schedule", error) == ["DETECT", "DELIVER"]


@pytest.mark.infra
@pytest.mark.parametrize("text", ["5 * * * *", "0 0/30 * * * *"])
def test_schedule_of_five_or_six_fields_arrives(text: str) -> None:
    evaluation = values({**REQUIRED, "DETECT_SCHEDULE": f" {text}\n", "DELIVER_SCHEDULE": text})
    assert {evaluation[name] for name in SCHEDULES} == {text}


# ------------------------------------------------------------------------------------------------------ destinations


@pytest.mark.infra
def test_deployment_without_a_destination_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"Neither WEBHOOK_URL .* nor WEBHOOKS .* is set"):
        deployed({})


@pytest.mark.infra
@pytest.mark.parametrize(
    "destinations, secrets",
    [
        pytest.param({"WEBHOOK_URL": "https://example.com/hook"}, {"webhook-url"}, id="one"),
        pytest.param({"WEBHOOKS": "[]"}, {"webhooks"}, id="a list"),
        pytest.param({"WEBHOOK_URL": "https://example.com/hook", "WEBHOOKS": "[]"}, {"webhooks"}, id="both"),
    ],
)
def test_either_destination_is_enough_and_the_list_wins(
    destinations: dict[str, str], secrets: set[str]
) -> None:
    vault = [
        resource
        for resource in deployed(destinations)
        if kind(resource) == "Microsoft.KeyVault/vaults/secrets"
    ]
    assert {secret["name"].split("/")[1] for secret in vault} == {*secrets, "link-key"}


@pytest.mark.infra
def test_deployment_with_nothing_set_that_need_not_be_is_the_one_of_the_defaults(tmp_path: Path) -> None:
    resources = evaluated(shutil.copytree(INFRA, tmp_path / "infra"), REQUIRED)
    assert Counter(map(kind, resources)) == Counter(map(kind, snapshot("defaults").resources))


def kind(resource: Resource) -> str:
    return str(resource["type"])


# ------------------------------------------------------------------------------------------------------------- page


def test_page_lists_every_variable() -> None:
    assert unlisted(PAGE.read_text(encoding="utf-8")) == []


def unlisted(text: str) -> list[str]:
    """The variables that have no line in a page's table."""
    return [name for name in VARIABLES.values() if f"\n| `{name}` | " not in text]


@pytest.mark.parametrize("variable", VARIABLES.values())
def test_variable_that_is_not_listed_is_found(variable: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert unlisted(re.sub(rf"^\| `{variable}` .*\n", "", text, flags=re.MULTILINE)) == [variable]


@pytest.mark.infra
def test_table_of_the_page_is_the_one_of_the_templates() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "python -m tests.infra.parameters writes it again"
