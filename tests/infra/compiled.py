"""The template that infra/main.bicep compiles to, taken apart: for what a snapshot cannot show, such as order, conditions
that no parameter set meets, and where secure parameters go. Skips the calling test where there is no compiler.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from tests.infra.compiler import compile_template, compiler_server
from tests.infra.snapshots import FOLDER, NAMES
from tests.regenerate import ROOT

Json = dict[str, Any]
MAIN = ROOT / "infra" / "main.bicep"
MODULE = "Microsoft.Resources/deployments"


@cache
def main() -> Json:
    template: Json = json.loads(compile_template(MAIN))
    return template


def resources(template: Json) -> dict[str, Json]:
    """The resources of a template by symbol, or by position where nothing in the template refers to a symbol."""
    members = template["resources"]
    return dict(members) if isinstance(members, dict) else {str(i): body for i, body in enumerate(members)}


def modules(template: Json) -> dict[str, Json]:
    """The deployments that a template makes of its modules, by symbol."""
    return {symbol: body for symbol, body in resources(template).items() if body["type"] == MODULE}


def templates() -> dict[str, Json]:
    """The main template, and that of each of its modules by the module's symbol."""
    inner = {symbol: module["properties"]["template"] for symbol, module in modules(main()).items()}
    assert not any(map(modules, inner.values())), "a module of a module: checks do not look into it"
    return {"main": main()} | inner


def expressions(template: Json) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in a template, keys included, with the path that leads to it; templates of modules are left out."""

    def walk(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, list):
            for i, member in enumerate(value):
                yield from walk(member, (*path, str(i)))
        elif isinstance(value, dict):
            for key, member in value.items():
                yield path, key
                if not (key == "template" and path[-1:] == ("properties",)):
                    yield from walk(member, (*path, key))

    yield from walk({**template, "resources": resources(template)}, ())


@cache
def parameter_sets() -> Mapping[str, Json]:
    """What each of the sets in snapshots/ sets, by the name of the set and of the parameter."""
    with compiler_server() as ask:
        answers = {
            name: ask("compileParams", path=str(FOLDER / f"{name}.bicepparam"), parameterOverrides={})
            for name in NAMES
        }
    files = {name: json.loads(answer["parameters"]) for name, answer in answers.items()}
    return {
        name: {parameter: body["value"] for parameter, body in file["parameters"].items()}
        for name, file in files.items()
    }
