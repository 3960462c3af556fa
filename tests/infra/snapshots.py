"""What a deployment would create, for each of the parameter sets in snapshots/: the resources that Microsoft's own engine
makes of the compiled template, without Azure.

`python -m tests.infra.snapshots [NAME…]` (`make snapshots`) writes them again. What only Azure knows is an expression in brackets in
them, what hangs on a secure parameter is `[unknown()]`, and order is not in them at all: for those the compiled template is
asked (`tests.infra.compiler`).
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.infra.compiler import MISSING, compiler, compiler_server

FOLDER = Path(__file__).parent / "snapshots"
NAMES = sorted(path.stem for path in FOLDER.glob("*.bicepparam"))
# Whom the snapshots are made for: made-up ids, so that names and addresses in them are the same on every machine.
SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
TENANT = "33333333-3333-3333-3333-333333333333"

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The resources of one parameter set, and the outputs of its deployment."""

    name: str
    resources: list[Resource]
    outputs: dict[str, Any]

    def of_type(self, kind: str) -> list[Resource]:
        """The resources of a type, such as Microsoft.Web/sites, in the template's order."""
        return [resource for resource in self.resources if resource["type"] == kind]

    def single(self, kind: str, name: str = "") -> Resource:
        """The single resource of a type whose name ends so."""
        (resource,) = (resource for resource in self.of_type(kind) if resource["name"].endswith(name))
        return resource

    @property
    def app_settings(self) -> dict[str, str]:
        settings: dict[str, str] = self.single("Microsoft.Web/sites/config", "/appsettings")["properties"]
        return settings


@cache
def snapshot(name: str) -> Snapshot:
    """A committed snapshot."""
    content = json.loads((FOLDER / f"{name}.snapshot.json").read_text(encoding="utf-8"))
    assert content["diagnostics"] == []
    return Snapshot(name, content["predictedResources"], content["outputs"])


def snapshots() -> Iterator[Snapshot]:
    return map(snapshot, NAMES)


def evaluate(names: Iterable[str]) -> dict[str, Any]:
    """The snapshots of parameter sets as the templates are now, each what `bicep snapshot` writes."""
    metadata = {"subscriptionId": SUBSCRIPTION, "tenantId": TENANT, "location": "westeurope"}
    with compiler_server() as ask:
        answers = {
            name: ask("getSnapshot", path=str(FOLDER / f"{name}.bicepparam"), metadata=metadata)
            for name in names
        }
    return {name: json.loads(answer["snapshot"]) for name, answer in answers.items()}


if __name__ == "__main__":
    if compiler() is None:
        sys.exit(MISSING)
    evaluated = evaluate(sys.argv[1:] or NAMES)
    for name, content in evaluated.items():
        content["outputs"] = dict(sorted(content["outputs"].items()))  # the compiler writes them in any order
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (FOLDER / f"{name}.snapshot.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(evaluated)} snapshots written")
