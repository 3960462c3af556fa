"""What azd reads: azure.yaml, and that the resources, the package and the outputs that it counts on are there."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.infra.snapshots import NAMES, snapshot
from tests.regenerate import ROOT

AZURE = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
((NAME, SERVICE),) = AZURE["services"].items()


def test_template_is_where_azd_looks() -> None:
    assert (ROOT / AZURE["infra"]["path"] / f"{AZURE['infra']['module']}.bicep").exists()


def test_azd_that_would_delete_the_workspaces_group_is_refused() -> None:
    major, minor = map(int, re.findall(r"\d+", AZURE["requiredVersions"]["azd"])[:2])
    assert AZURE["requiredVersions"]["azd"].startswith(">=")
    assert (major, minor) >= (1, 25)


@pytest.mark.parametrize("name", NAMES)
def test_app_and_group_are_tagged_as_azd_looks_for_them(name: str) -> None:
    group, app = (
        snapshot(name).single(kind) for kind in ("Microsoft.Resources/resourceGroups", "Microsoft.Web/sites")
    )
    assert app["tags"]["azd-service-name"] == NAME
    assert group["tags"]["azd-env-name"] == group["name"].removeprefix("rg-")


def test_what_is_deployed_is_what_make_package_made_and_is_not_built_again() -> None:
    script = (ROOT / "scripts" / "package.py").read_text(encoding="utf-8")
    assert SERVICE["dist"] == "out/package"
    assert 'ROOT / "out" / "package"' in script
    assert SERVICE["remoteBuild"] is False
    assert SERVICE["hooks"]["prepackage"]["run"] == "make package"


# ------------------------------------------------------------------------------------------------------------ the hook


WORKSPACE = "/subscriptions/1/resourcegroups/g/providers/microsoft.operationalinsights/workspaces/w"
WEBHOOK = {"WEBHOOK_URL": "https://example.com/hook"}


class Hook:
    """The preprovision hook with an azd that writes down what it is asked to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        azd = folder / "azd"
        azd.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>"$0.arguments"\n', encoding="utf-8")
        azd.chmod(0o755)

    def run(self, environment: dict[str, str], typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run the hook, at a terminal if something is typed."""
        terminal, stdin = pty.openpty() if typed is not None else (None, subprocess.DEVNULL)
        try:
            if terminal is not None:
                os.write(terminal, f"{typed}\x04".encode())
            return subprocess.run(
                ["sh", str(ROOT / "scripts" / "preprovision")],
                check=False,
                stdin=stdin,
                capture_output=True,
                text=True,
                env={"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}", **environment},
                timeout=300,
            )
        finally:
            if terminal is not None:
                os.close(terminal)
                os.close(stdin)

    @property
    def azd_arguments(self) -> list[str]:
        """What azd was told."""
        path = self.folder / "azd.arguments"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path)


def test_azd_runs_the_hook_at_the_terminal() -> None:
    assert AZURE["hooks"]["preprovision"] == {
        "shell": "sh",
        "run": "sh scripts/preprovision",
        "interactive": True,
    }


@pytest.mark.parametrize("webhook", [WEBHOOK, {"WEBHOOKS": "[]"}], ids=["one", "a list"])
def test_hook_is_silent_where_nothing_is_missing(hook: Hook, webhook: dict[str, str]) -> None:
    completed = hook.run({"LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": WORKSPACE, **webhook}, typed="")
    assert (completed.returncode, completed.stdout, completed.stderr, hook.azd_arguments) == (0, "", "", [])


def test_workspace_is_asked_for_and_stored(hook: Hook) -> None:
    completed = hook.run({"LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": " ", **WEBHOOK}, typed=f"{WORKSPACE}\n")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert hook.azd_arguments == ["env", "set", "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID", WORKSPACE]


def test_workspace_is_asked_for_until_it_is_one(hook: Hook) -> None:
    completed = hook.run(WEBHOOK, typed=f"log-sentinel\n{WORKSPACE}\n")
    assert completed.stdout.count("Resource id: ") == 2
    assert hook.azd_arguments[-1] == WORKSPACE


@pytest.mark.parametrize("typed", ["\n", ""], ids=["nothing", "end of input"])
def test_workspace_that_is_not_typed_is_missing(hook: Hook, typed: str) -> None:
    completed = hook.run(WEBHOOK, typed=typed)
    assert (completed.returncode, hook.azd_arguments) == (1, [])
    assert "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID, the workspace to read:" in completed.stderr


@pytest.mark.parametrize("quiet", [{}, {"AZD_NON_INTERACTIVE": "true"}], ids=["no terminal", "told not to"])
def test_nothing_is_asked_where_nobody_answers(hook: Hook, quiet: dict[str, str]) -> None:
    completed = hook.run(quiet, typed=f"{WORKSPACE}\n" if quiet else None)
    assert (completed.returncode, completed.stdout, hook.azd_arguments) == (1, "", [])
    for command in ('azd env set LOG_ANALYTICS_WORKSPACE_RESOURCE_ID "$(az ', "export WEBHOOK_URL=https://…"):
        assert f"\n  {command}" in completed.stderr


def test_webhook_is_not_asked_for_and_nothing_secret_is_stored(hook: Hook) -> None:
    completed = hook.run({"WEBHOOK_URL": "\n"}, typed=f"{WORKSPACE}\nhttps://example.com/hook\n")
    assert completed.returncode == 1
    assert "LOG_ANALYTICS" not in completed.stderr
    assert "export WEBHOOK_URL" in completed.stderr
    assert hook.azd_arguments == ["env", "set", "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID", WORKSPACE]


# ------------------------------------------------------------------------------------------------------------ the pages


@pytest.mark.parametrize("page", ["README.md", "docs/deploy.md", "docs/security.md"])
def test_pages_name_only_outputs_that_are_there(page: str) -> None:
    outputs = set(snapshot("defaults").outputs) | {
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_LOCATION",
        "AZURE_ENV_NAME",
    }
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"azd env get-value (\w+)", text)) <= outputs


def test_page_names_the_providers_of_all_that_is_created() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "infra").glob("*.bicep"))
    needed = set(re.findall(r"'Microsoft\.(\w+)/", templates)) - {"Resources"}  # that one is always there
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^ *for name in (.+); do$", page, flags=re.MULTILINE)[0].split())
    # An alarm that is raised is a resource of AlertsManagement; no template has it.
    assert named == needed | {"AlertsManagement"}
