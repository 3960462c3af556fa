"""The templates: they parse, name nothing that is not there, fit one another, and every property is one that the service
knows. Each check is tried on a mistake.
"""

import json
import re
from pathlib import Path

import pytest

from tests.infra.bicep import BicepError, Either, Module, Template, Unknown, load, parameters_file, parse
from tests.infra.models import answers, problems

INFRA = Path(__file__).parents[2] / "infra"
FILES = sorted(INFRA.glob("*.bicep"))
MAIN = load(INFRA / "main.bicep")
NAMES = [path.name for path in FILES]


def template(name: str) -> Template:
    return load(INFRA / name)


def changed(name: str, old: str, new: str) -> Template:
    """A template with a mistake in it."""
    text = (INFRA / name).read_text(encoding="utf-8")
    assert old in text
    return parse(text.replace(old, new, 1), INFRA / name)


# ----------------------------------------------------------------------------------------------------- the language


@pytest.mark.parametrize("name", NAMES)
def test_parses_and_names_only_what_is_declared(name: str) -> None:
    assert template(name).undeclared == []


def test_text_that_is_no_bicep_is_refused_with_its_line() -> None:
    with pytest.raises(BicepError, match=r"^vault\.bicep:\d+: is not Bicep"):
        changed("vault.bicep", "properties: {", "properties {")


@pytest.mark.parametrize(
    "name, old, new",
    [
        pytest.param("vault.bicep", "tags: tags", "tags: tag", id="parameter"),
        pytest.param("vault.bicep", "guid(vault.id", "guid(vaults.id", id="resource"),
        pytest.param("vault.bicep", "empty(webhookUrl)", "emtpy(webhookUrl)", id="function"),
        pytest.param("vault.bicep", "${vault.properties", "${vualt.properties", id="in a string"),
        pytest.param("network.bicep", "${endpoint.name}", "${endpiont.name}", id="loop variable"),
        pytest.param(
            "storage.bicep", "scope: account::tables", "scope: acount::tables", id="nested resource"
        ),
    ],
)
def test_misspelt_name_is_found(name: str, old: str, new: str) -> None:
    assert len(changed(name, old, new).undeclared) == 1


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_and_variable_is_used(name: str) -> None:
    assert template(name).unused == set()


def test_parameter_that_nothing_uses_is_found() -> None:
    assert changed("vault.bicep", "  tags: tags\n", "").unused == {"tags"}


# ------------------------------------------------------------------------------------------------------- the models


def found(of: Template) -> list[str]:
    return [problem for resource in of.resources if not resource.existing for problem in problems(resource)]


@pytest.mark.parametrize("name", NAMES)
def test_every_property_is_one_that_the_service_knows(name: str) -> None:
    assert found(template(name)) == []


MISTAKES = {
    "unknown property": ("storage.bicep", "minimumTlsVersion", "minTlsVersion", "has no such property"),
    "other case": ("app.bicep", "httpsOnly", "httpsonly", "there is httpsOnly"),
    "deep down": ("app.bicep", "maximumInstanceCount:", "maxInstanceCount:", "has no such property"),
    "value of an enumeration": ("storage.bicep", "'Standard_LRS'", "'Standard_XRS'", "is none of"),
    "in a list": ("network.bicep", "serviceName:", "service:", "has no such property"),
    "boolean as text": ("app.bicep", "httpsOnly: true", "httpsOnly: 'true'", "is not bool"),
    "number as text": ("vault.bicep", "InDays: 7", "InDays: '7'", "is not int"),
    "text as number": ("app.bicep", "minTlsVersion: '1.2'", "minTlsVersion: 1", "is none of"),
    "object as text": ("storage.bicep", "sku: { name: 'Standard_LRS' }", "sku: 'Standard_LRS'", "is not Sku"),
    "list as text": ("network.bicep", "[addressPrefix]", "'10.0.0.0/8'", "is not a list"),
    "something missing": ("storage.bicep", "  kind: 'StorageV2'\n", "", "kind: is missing"),
    "something missing deep down": (
        "vault.bicep",
        "    tenantId: tenant().tenantId\n",
        "",
        "tenantId: is missing",
    ),
    "only the service writes": ("app.bicep", "httpsOnly: true", "state: 'Running'", "only the service"),
    "either way": ("storage.bicep", "? 'Disabled' :", "? 'Off' :", "is none of"),
    "in a loop": ("alerts.bicep", "emailAddress:", "address:", "has no such property"),
    "older style, unknown": ("alerts.bicep", "autoMitigate:", "autoResolve:", "has no such property"),
    "older style, enumeration": ("alerts.bicep", "'GreaterThan'", "'MoreThan'", "is none of"),
    "older style, missing": ("telemetry.bicep", "  kind: 'web'\n", "", "kind: is missing"),
    "older style, number of an enumeration": ("alerts.bicep", "severity: 3", "severity: 5", "is none of"),
    "window that is none of the fixed ones": (
        "alerts.bicep",
        "window: 'PT3H'",
        "window: 'PT150M'",
        "not allowed",
    ),
    "frequency that is none of the fixed ones": (
        "alerts.bicep",
        "every: 'PT1H'",
        "every: 'P2D'",
        "not allowed",
    ),
    "no span of time": ("alerts.bicep", "window: 'PT3H'", "window: '3h'", "is not a span of time"),
    "no such Python": ("app.bicep", "'3.13'", "'3.31'", "not allowed"),
    "unknown type": (
        "identity.bicep",
        "userAssignedIdentities@",
        "userAssignedIdentity@",
        "no model is known",
    ),
}


@pytest.mark.parametrize("name, old, new, said", MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_found(name: str, old: str, new: str, said: str) -> None:
    assert [said in problem for problem in found(changed(name, old, new))][:1] == [True]


def unread(of: Template) -> list[str]:
    """The properties that are asked of resources and that those do not have."""
    text = of.path.read_text(encoding="utf-8")
    kinds = {one.symbol: one.type for one in of.resources}
    asked = re.findall(r"\b(\w+)\.(properties\.[\w.]+)", text)
    return [f"{symbol}.{path}" for symbol, path in asked if not answers(kinds[symbol], path)]


@pytest.mark.parametrize("name", NAMES)
def test_every_property_that_is_read_is_there(name: str) -> None:
    assert unread(template(name)) == []


@pytest.mark.parametrize("path", ["properties.vaultUrl", "properties.sku.size", "properties.vaultUri.host"])
def test_property_that_cannot_be_read_is_found(path: str) -> None:
    assert not answers("Microsoft.KeyVault/vaults", path)


# --------------------------------------------------------------------------------------------- what fits what


def misfits(module: Module) -> list[str]:
    """What a module is given and does not take, or wants and is not given."""
    wanted = template(module.path).parameters
    missing = [name for name, one in wanted.items() if one.required and name not in module.params]
    return missing + [name for name in module.params if name not in wanted]


@pytest.mark.parametrize("module", MAIN.modules, ids=lambda module: str(module.symbol))
def test_module_gets_what_it_takes(module: Module) -> None:
    assert misfits(module) == []


def test_module_that_gets_something_else_is_found() -> None:
    broken = changed("main.bicep", "isPrivate:", "private:")
    assert [misfits(module) for module in broken.modules if misfits(module)] == [["isPrivate", "private"]]


def missing_outputs(of: Template) -> set[str]:
    """The outputs that are asked of modules and that they do not have."""
    text = of.path.read_text(encoding="utf-8")
    has = {one.symbol: set(template(one.path).outputs) for one in of.modules}
    asked = re.findall(r"\b(\w+)(?:\[\w+\])?!?\.outputs\.(\w+)", text)
    return {f"{module}.{output}" for module, output in asked if output not in has[module]}


def test_every_output_that_is_asked_for_is_there() -> None:
    assert missing_outputs(MAIN) == set()


def test_every_file_is_a_part_of_the_whole() -> None:
    assert {one.path for one in MAIN.modules} | {"main.bicep"} == set(NAMES)


def test_every_query_is_an_alarm() -> None:
    loaded = set(re.findall(r"loadTextContent\('alerts/(.+)\.kql'\)", (INFRA / "alerts.bicep").read_text()))
    assert loaded == {path.stem for path in (INFRA / "alerts").iterdir()}


def test_a_type_has_one_version_and_no_preview() -> None:
    versions: dict[str, set[str]] = {}
    for name in NAMES:
        for resource in template(name).resources:
            versions.setdefault(resource.type.split("/")[0] + resource.type.split("/")[1], set()).add(
                resource.version
            )
    assert {
        kind: found for kind, found in versions.items() if len(found) > 1 or "preview" in str(found)
    } == {}


# ------------------------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize("name", MAIN.parameters)
def test_parameter_is_described(name: str) -> None:
    assert str(MAIN.parameters[name].decorators.get("description", "")).endswith(".")


@pytest.mark.parametrize("name", [name for name, one in MAIN.parameters.items() if one.type == "int"])
def test_number_has_bounds(name: str) -> None:
    decorators = MAIN.parameters[name].decorators
    assert "allowed" in decorators or {"minValue", "maxValue"} <= set(decorators)


@pytest.mark.parametrize("name", [name for name, one in MAIN.parameters.items() if one.required])
def test_text_that_is_asked_for_is_secret_or_cannot_be_empty(name: str) -> None:
    assert {"secure", "minLength"} & set(MAIN.parameters[name].decorators)


def outside(name: str, value: object) -> bool:
    """Whether a value is one that the parameter does not take."""
    bounds = MAIN.parameters[name].decorators
    size = len(value) if isinstance(value, str) else value if isinstance(value, int) else 0
    kind = "Length" if isinstance(value, str) else "Value"
    allowed = bounds.get("allowed")
    return (
        (allowed is not None and value not in allowed)
        or size < bounds.get(f"min{kind}", size)
        or size > bounds.get(f"max{kind}", size)
    )


@pytest.mark.parametrize("name", [name for name, one in MAIN.parameters.items() if not one.required])
def test_default_is_within_its_bounds(name: str) -> None:
    assert not outside(name, MAIN.parameters[name].default)


def test_sample_is_for_the_template_and_within_its_bounds() -> None:
    using, values = parameters_file(INFRA / "sample.bicepparam")
    known = {name: value for name, value in values.items() if not isinstance(value, Unknown | Either)}
    assert using == "main.bicep"
    assert (
        {name for name, one in MAIN.parameters.items() if one.required} <= set(values) <= set(MAIN.parameters)
    )
    assert [name for name, value in known.items() if outside(name, value)] == []


def test_sample_holds_no_secret() -> None:
    _, values = parameters_file(INFRA / "sample.bicepparam")
    secret = [name for name, one in MAIN.parameters.items() if "secure" in one.decorators]
    assert {type(values[name]) for name in secret if name in values} == {Unknown}


def test_azd_can_set_every_parameter() -> None:
    values = json.loads((INFRA / "main.parameters.json").read_text(encoding="utf-8"))["parameters"]
    assert set(values) == set(MAIN.parameters) - {"tags"}
    assert [one["value"] for one in values.values() if not re.fullmatch(r"\$\{[A-Z_]+\}", one["value"])] == []


def test_azd_does_not_read_the_sample_instead() -> None:
    assert not (INFRA / "main.bicepparam").exists()  # azd would prefer it, and ask for nothing
