"""checkov's rules about the resources that a deployment would create. It runs in an environment of its own (`make lint-infra`
makes it). It works out no expression, and it passes silently what it cannot read: so it is given the evaluated resources of
each parameter set as a template, and has to count as many as it was given.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.snapshots import NAMES, Resource, snapshot
from tests.regenerate import ROOT

CHECKOV = ROOT / ".venv-infra" / "bin" / "checkov"
pytestmark = pytest.mark.infra

# What no parameter set follows, and why.
DELIBERATE = {
    "CKV_AZURE_13": "checkov looks for the older authsettings; test_incident_page.py checks who signs in, and how",
    "CKV_AZURE_17": "people show a sign-in, a key or a signed link; a browser that opens a message has no certificate",
    "CKV_AZURE_41": "a webhook's URL that expired on a day would silence the alerts on that day",
    "CKV_AZURE_63": "checkov looks among the app's settings; the host logs requests to Application Insights",
    "CKV_AZURE_65": "checkov looks among the app's settings; the host logs errors to Application Insights",
    "CKV_AZURE_66": "checkov looks among the app's settings; the host logs requests that fail to Application Insights",
    "CKV_AZURE_78": "Flex Consumption refuses ftpsState; the publishing credentials of FTP are off instead",
    "CKV_AZURE_80": "there is no .NET in it",
    "CKV_AZURE_88": "the app keeps no files",
    "CKV_AZURE_206": "the table keeps days of marks and 90 days of incidents; each alert also goes to the webhook",
    "CKV_AZURE_212": "Flex Consumption starts instances as they are needed, and numberOfWorkers does not change that",
    "CKV_AZURE_213": "App Service's probe has no function key; alarms watch the runs, and the function health answers more",
    "CKV_AZURE_222": "people reach the incident page, and packages are deployed, at the app's own address",
    "CKV_AZURE_225": "two instances of each function would run all day; the next hourly run makes up for one that fails",
}
# What follows from an option: the rules that every other parameter set does not follow, by the set that has it on.
PRIVATE = {"CKV_AZURE_35", "CKV_AZURE_59", "CKV_AZURE_109", "CKV_AZURE_189"}
OPTIONS = {
    "private-network": PRIVATE,
    "several-destinations": {"CKV_AZURE_42", "CKV_AZURE_110"},  # purge protection, which cannot be undone
}
# A rule that only this set does not follow: where no service of Azure is let past the endpoints.
CLOSED = {"private-network": {"CKV_AZURE_36"}, "landing-zone": {"CKV_AZURE_36"}}


@dataclass(frozen=True, slots=True)
class CheckovReport:
    """What checkov made of some templates: the rules that each does not follow, and how many resources it read."""

    broken_rules: Mapping[str, set[str]]
    resources: int


def template(resources: list[Resource]) -> str:
    return json.dumps(
        {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "resources": [{key: resource[key] for key in resource if key != "id"} for resource in resources],
        }
    )


def run_checkov(folder: Path, templates: Mapping[str, str]) -> CheckovReport:
    """Ask checkov about templates. A rule that crashes counts as not followed by any."""
    assert CHECKOV.exists(), "run make lint-infra"
    for name, text in templates.items():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    options = ["--skip-download", "--framework", "arm", "--directory", str(folder), "--output", "json"]
    completed = subprocess.run([str(CHECKOV), *options], capture_output=True, text=True, check=False)
    answer = json.loads(completed.stdout)
    crashed = re.findall(r"Failed to run check (\w+)", completed.stderr)
    broken_rules = {name: set(crashed) for name in templates}
    for check in answer["results"]["failed_checks"]:
        broken_rules[Path(check["file_path"]).stem].add(check["check_id"])
    return CheckovReport(broken_rules, answer["summary"]["resource_count"])


def with_old_encryption() -> list[Resource]:
    resources = deepcopy(snapshot("private-network").resources)
    (account,) = (
        resource for resource in resources if resource["type"] == "Microsoft.Storage/storageAccounts"
    )
    account["properties"]["minimumTlsVersion"] = "TLS1_0"
    return resources


RESOURCES = {name: snapshot(name).resources for name in NAMES} | {"old-encryption": with_old_encryption()}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> CheckovReport:
    templates = {name: template(resources) for name, resources in RESOURCES.items()}
    templates["cut-off"] = templates["defaults"][:-2]  # cannot be read
    return run_checkov(tmp_path_factory.mktemp("templates"), templates)


def expected(name: str) -> set[str]:
    """The rules that a parameter set does not follow, on purpose."""
    options = {rule for option, rules in OPTIONS.items() if option != name for rule in rules}
    if name == "landing-zone":
        options -= PRIVATE
    return set(DELIBERATE) | options | CLOSED.get(name, set())


def test_every_resource_is_read(report: CheckovReport) -> None:
    """Checkov passes over what it cannot read without a word: it is missing from the count, as that of the file cut off."""
    assert report.resources == sum(map(len, RESOURCES.values()))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_followed_is_deliberate(report: CheckovReport, name: str) -> None:
    assert report.broken_rules[name] - expected(name) == set()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_excused_that_is_followed(report: CheckovReport, name: str) -> None:
    assert expected(name) - report.broken_rules[name] == set()


def test_old_encryption_is_found(report: CheckovReport) -> None:
    assert report.broken_rules["old-encryption"] - report.broken_rules["private-network"] == {"CKV_AZURE_44"}
