"""The resources that a deployment would create with some variables set, evaluated by the compiler from main.bicepparam."""

import atexit
import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests.infra.compiler import bicep
from tests.infra.parameters import INFRA, VARIABLES, RefusedError
from tests.infra.snapshots import SUBSCRIPTION, TENANT, Resource

WORKSPACE = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-sentinel"
    "/providers/Microsoft.OperationalInsights/workspaces/log-sentinel"
)
REQUIRED = {
    "AZURE_ENV_NAME": "detection",
    "AZURE_LOCATION": "westeurope",
    "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": WORKSPACE,
}
WEBHOOK = {"WEBHOOK_URL": "https://example.com/hook"}


def deployed(environment: Mapping[str, str]) -> list[Resource]:
    """The resources with these variables, the required ones and no others. Raises RefusedError.

    The compiler sees parameters that are not secure, since it does not look into those that are.
    """
    return evaluated(without_secrets(), {**REQUIRED, **environment})


def evaluated(folder: Path, environment: Mapping[str, str]) -> list[Resource]:
    """The resources that a copy of infra/ is deployed as. Raises RefusedError."""
    only = {**dict.fromkeys(VARIABLES.values(), ""), **environment}
    ids = ("--subscription-id", SUBSCRIPTION, "--tenant-id", TENANT, "--location", "westeurope")
    completed = bicep("snapshot", folder / "main.bicepparam", "--mode", "overwrite", *ids, environment=only)
    if completed.returncode:
        raise RefusedError(completed.stdout + completed.stderr)
    result = json.loads((folder / "main.snapshot.json").read_text(encoding="utf-8"))
    assert result["diagnostics"] == []
    resources: list[Resource] = result["predictedResources"]
    return resources


@cache
def without_secrets() -> Path:
    """A copy of infra/ whose parameters are not secure."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    copy = shutil.copytree(INFRA, folder / "infra")
    (copy / "bicepconfig.json").unlink()  # its rules ask for what is taken away here
    for template in copy.glob("*.bicep"):
        text = template.read_text(encoding="utf-8")
        template.write_text(text.replace("@secure()\n", ""), encoding="utf-8")
    return copy
