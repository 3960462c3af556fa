"""The variables of a deployment: which of them becomes which parameter, and the table of them in docs/deploy.md.

`python -m tests.infra.parameters` writes the table again, from main.bicep and main.bicepparam.
"""

import atexit
import json
import re
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tests.infra.compiler import bicep, compile_template
from tests.regenerate import ROOT

INFRA = ROOT / "infra"
PAGE = ROOT / "docs" / "deploy.md"
HEADER = "| variable | what for | default | secret |\n|---|---|---|---|\n"

Definition = dict[str, Any]


class RefusedError(Exception):
    """The compiler refuses the values of main.bicepparam; the message is all that it says."""


@cache
def definitions() -> dict[str, Definition]:
    """The parameters of main.bicep as they are compiled: type, default, constraints, description."""
    parameters: dict[str, Definition] = json.loads(compile_template(INFRA / "main.bicep"))["parameters"]
    return parameters


def declared(template: str) -> list[str]:
    """The names of a template's parameters, by its text."""
    return re.findall(r"^param (\w+)", template, flags=re.MULTILINE)


def variables(values: str) -> dict[str, str]:
    """The environment variable of each parameter, by the text of a .bicepparam file."""
    names = re.findall(r"readEnvironmentVariable\('(\w+)'", values)
    statements = re.findall(r"^param (\w+) = (.*(?:\n[ }].*)*)", values, flags=re.MULTILINE)
    return {
        parameter: name
        for parameter, expression in statements
        for name in names
        if re.search(rf"\b{name}\b", expression)
    }


VARIABLES = variables((INFRA / "main.bicepparam").read_text(encoding="utf-8"))
SECRETS = {
    VARIABLES[parameter]
    for parameter in re.findall(
        r"^@secure\(\)\nparam (\w+)", (INFRA / "main.bicep").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
}


def values(environment: Mapping[str, str]) -> dict[str, Any]:
    """The parameters that azd and the Azure CLI would deploy with these variables. Raises RefusedError.

    What else is set on this machine is not seen: every other variable is empty.
    """
    return _values(tuple({**dict.fromkeys(VARIABLES.values(), ""), **environment}.items()))


@cache
def _values(environment: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    completed = bicep("build-params", parameters_alone(), "--stdout", environment=dict(environment))
    if completed.returncode:
        raise RefusedError(completed.stderr)
    parameters = json.loads(json.loads(completed.stdout)["parametersJson"])["parameters"]
    return {name: parameter["value"] for name, parameter in parameters.items()}


@cache
def parameters_alone() -> Path:
    """A copy of main.bicepparam beside a main.bicep that has parameters and nothing else: compiled in half the time."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    template = (INFRA / "main.bicep").read_text(encoding="utf-8")
    (folder / "main.bicep").write_text(template[: template.index("\nvar ")], encoding="utf-8")
    shutil.copy(INFRA / "schedule.bicep", folder)
    return Path(shutil.copy(INFRA / "main.bicepparam", folder))


def table() -> str:
    """The table of all variables, in the template's order."""
    return HEADER + "".join(map(_row, VARIABLES))


def _row(parameter: str) -> str:
    definition = definitions()[parameter]
    default = _code(definition["defaultValue"]) if "defaultValue" in definition else "must be set"
    secret = "secret" if definition["type"] == "securestring" else ""
    return f"| `{VARIABLES[parameter]}` | {_prose(definition)} | {default} | {secret} |\n"


def _code(default: object) -> str:
    """A default as it would be set, empty if it is nothing."""
    if default in ("", {}):
        return ""
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def _prose(definition: Definition) -> str:
    """A parameter's description. The template calls other parameters by their names; whoever deploys knows variables."""
    text: str = definition["metadata"]["description"].replace("|", "\\|")
    for parameter, variable in VARIABLES.items():
        if not parameter.islower():
            text = re.sub(rf"\b{parameter}\b", f"`{variable}`", text)
    return text


def page(text: str) -> str:
    """docs/deploy.md with the table as it is now."""
    start = text.index(HEADER)
    end = text.index("\n\n", start) + 1
    return text[:start] + table() + text[end:]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit()
