"""What azd reads: azure.yaml, and that the resources, the package and the outputs that it counts on are there."""

import re

import pytest
import yaml

from tests.infra.bicep import load
from tests.regenerate import ROOT

AZURE = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
((NAME, SERVICE),) = AZURE["services"].items()


def test_template_is_where_azd_looks() -> None:
    assert (ROOT / AZURE["infra"]["path"] / f"{AZURE['infra']['module']}.bicep").exists()


def test_azd_that_would_delete_the_workspaces_group_is_refused() -> None:
    major, minor = map(int, re.findall(r"\d+", AZURE["requiredVersions"]["azd"])[:2])
    assert AZURE["requiredVersions"]["azd"].startswith(">=")
    assert (major, minor) >= (1, 25)


def test_app_is_tagged_with_the_name_of_its_service() -> None:
    (app,) = [
        one for one in load(ROOT / "infra" / "app.bicep").resources if one.type == "Microsoft.Web/sites"
    ]
    assert f"'azd-service-name': '{NAME}'" in app.body["tags"].text


def test_group_is_tagged_with_the_name_of_its_environment() -> None:
    main = (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8")
    assert "'azd-env-name': environmentName" in main


def test_what_is_deployed_is_what_make_package_made_and_is_not_built_again() -> None:
    script = (ROOT / "scripts" / "package.py").read_text(encoding="utf-8")
    assert SERVICE["dist"] == "out/package"
    assert 'ROOT / "out" / "package"' in script
    assert SERVICE["remoteBuild"] is False
    assert SERVICE["hooks"]["prepackage"]["run"] == "make package"


@pytest.mark.parametrize("page", ["README.md", "docs/deploy.md", "docs/security.md"])
def test_pages_name_only_outputs_that_are_there(page: str) -> None:
    known = set(load(ROOT / "infra" / "main.bicep").outputs) | {
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_LOCATION",
        "AZURE_ENV_NAME",
    }
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"azd env get-value (\w+)", text)) <= known
