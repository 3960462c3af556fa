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
    named = {"landing-zone": "rg-sec-detection-weu"}.get(name, f"rg-{group['tags']['azd-env-name']}")
    assert group["name"] == named


def test_what_is_deployed_is_what_make_package_made_and_is_not_built_again() -> None:
    script = (ROOT / "scripts" / "package.py").read_text(encoding="utf-8")
    assert SERVICE["dist"] == "out/package"
    assert 'ROOT / "out" / "package"' in script
    assert SERVICE["remoteBuild"] is False
    assert SERVICE["hooks"]["prepackage"]["run"] == "make package"


# ------------------------------------------------------------------------------------------------------------ the hook


WORKSPACE = "/subscriptions/1/resourcegroups/g/providers/microsoft.operationalinsights/workspaces/w"
WEBHOOK = {"WEBHOOK_URL": "https://example.com/hook"}
ALARMS = {"ALARM_EMAILS": "soc@example.com"}
COMPLETE = {"LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": WORKSPACE, **WEBHOOK, **ALARMS}


class Hook:
    """A script with commands of the test's own in front of the PATH, which write down their arguments."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        self.script = script
        self.replace_command("azd")
        self.replace_command("sleep")
        self.replace_command("az", "exit 1")  # nobody has signed in

    def replace_command(self, name: str, then: str = "") -> None:
        """Let a command write down its arguments, a call a line, and go on with a shell script."""
        command = self.folder / name
        command.write_text(f'#!/bin/sh\necho "$@" >>"$0.calls"\n{then}\n', encoding="utf-8")
        command.chmod(0o755)

    def run(
        self, environment: dict[str, str], typed: str | None = None, *arguments: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the script, at a terminal if something is typed."""
        terminal, stdin = pty.openpty() if typed is not None else (None, subprocess.DEVNULL)
        try:
            if terminal is not None:
                os.write(terminal, f"{typed}\x04".encode())
            return subprocess.run(
                ["sh", str(ROOT / "scripts" / self.script), *arguments],
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

    def calls(self, command: str = "azd") -> list[str]:
        """The arguments of each call of a command."""
        path = self.folder / f"{command}.calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    return Hook(tmp_path, "preprovision")


def test_azd_runs_the_hook_at_the_terminal() -> None:
    assert AZURE["hooks"]["preprovision"] == {
        "shell": "sh",
        "run": "sh scripts/preprovision",
        "interactive": True,
    }


@pytest.mark.parametrize("webhook", [WEBHOOK, {"WEBHOOKS": "[]"}], ids=["one", "a list"])
def test_hook_is_silent_where_nothing_is_missing(hook: Hook, webhook: dict[str, str]) -> None:
    completed = hook.run({"LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": WORKSPACE, **webhook, **ALARMS}, typed="")
    assert (completed.returncode, completed.stdout, completed.stderr, hook.calls()) == (0, "", "", [])


def test_workspace_is_asked_for_and_stored(hook: Hook) -> None:
    completed = hook.run({**COMPLETE, "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": " "}, typed=f"{WORKSPACE}\n")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert hook.calls() == [f"env set LOG_ANALYTICS_WORKSPACE_RESOURCE_ID {WORKSPACE}"]


def test_workspace_is_asked_for_until_it_is_one(hook: Hook) -> None:
    completed = hook.run({**WEBHOOK, **ALARMS}, typed=f"log-sentinel\n{WORKSPACE}\n")
    assert completed.stdout.count("Resource id: ") == 2
    assert hook.calls() == [f"env set LOG_ANALYTICS_WORKSPACE_RESOURCE_ID {WORKSPACE}"]


@pytest.mark.parametrize("typed", ["\n", ""], ids=["nothing", "end of input"])
def test_workspace_that_is_not_typed_is_missing(hook: Hook, typed: str) -> None:
    completed = hook.run(WEBHOOK, typed=typed)
    assert (completed.returncode, hook.calls()) == (1, [])
    assert "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID, the workspace to read:" in completed.stderr


@pytest.mark.parametrize("quiet", [{}, {"AZD_NON_INTERACTIVE": "true"}], ids=["no terminal", "told not to"])
def test_nothing_is_asked_where_nobody_answers(hook: Hook, quiet: dict[str, str]) -> None:
    completed = hook.run(quiet, typed=f"{WORKSPACE}\n" if quiet else None)
    assert (completed.returncode, completed.stdout, hook.calls()) == (1, "", [])
    for command in ('azd env set LOG_ANALYTICS_WORKSPACE_RESOURCE_ID "$(az ', "export WEBHOOK_URL=https://…"):
        assert f"\n  {command}" in completed.stderr


def test_webhook_is_not_asked_for_and_nothing_secret_is_stored(hook: Hook) -> None:
    completed = hook.run({"WEBHOOK_URL": "\n"}, typed=f"{WORKSPACE}\nhttps://example.com/hook\n")
    assert completed.returncode == 1
    assert "LOG_ANALYTICS" not in completed.stderr
    assert "export WEBHOOK_URL" in completed.stderr
    assert hook.calls() == [f"env set LOG_ANALYTICS_WORKSPACE_RESOURCE_ID {WORKSPACE}"]


REGIONS = "echo westeurope; echo 'Sweden Central'"  # spelt as by different versions of the Azure CLI


@pytest.mark.parametrize("region", ["westeurope", "West Europe", "swedencentral", "", " "])
def test_region_with_flex_consumption_passes(hook: Hook, region: str) -> None:
    hook.replace_command("az", REGIONS)
    completed = hook.run({**COMPLETE, "AZURE_LOCATION": region})
    assert (completed.returncode, completed.stderr) == (0, "")


@pytest.mark.parametrize("region", ["westus", "europe", "west.urope"])
def test_region_without_flex_consumption_is_refused(hook: Hook, region: str) -> None:
    hook.replace_command("az", REGIONS)
    completed = hook.run({**COMPLETE, "AZURE_LOCATION": region})
    assert completed.returncode == 1
    assert "azd env set AZURE_LOCATION" in completed.stderr
    assert hook.calls("az") == ["functionapp list-flexconsumption-locations --query [].name --output tsv"]


@pytest.mark.parametrize("answer", ["exit 1", "exit 0"], ids=["no sign-in", "no region"])
def test_region_passes_where_it_cannot_be_checked(hook: Hook, answer: str) -> None:
    hook.replace_command("az", answer)
    completed = hook.run({**COMPLETE, "AZURE_LOCATION": "westus"})
    assert (completed.returncode, completed.stderr) == (0, "")


def test_recipients_of_alarms_are_asked_for_and_stored(hook: Hook) -> None:
    completed = hook.run({**COMPLETE, "ALARM_EMAILS": ""}, typed="soc@example.com, ann@example.com\n")
    assert (completed.returncode, completed.stderr) == (0, "")
    assert hook.calls() == ["env set ALARM_EMAILS soc@example.com, ann@example.com"]


@pytest.mark.parametrize("typed", ["\n", "", None], ids=["nothing", "end of input", "no terminal"])
def test_deployment_without_recipients_goes_on_and_says_so(hook: Hook, typed: str | None) -> None:
    completed = hook.run({**COMPLETE, "ALARM_EMAILS": ""}, typed=typed)
    assert (completed.returncode, hook.calls()) == (0, [])
    assert "azd env set ALARM_EMAILS" in completed.stderr


def test_action_group_is_recipient_enough(hook: Hook) -> None:
    completed = hook.run(
        {**COMPLETE, "ALARM_EMAILS": "", "ACTION_GROUP_RESOURCE_ID": "/subscriptions/1"}, typed=""
    )
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")


# ------------------------------------------------------------------------------------------------- the first deployment

# As azd 1.24 printed it: https://github.com/Azure/azure-dev/issues/8026
TOO_EARLY = "echo 'InaccessibleStorageException: Failed to access storage account for deployment'; exit 1"


def test_first_deployment_waits_for_its_roles_and_no_other_does(tmp_path: Path) -> None:
    hooks = AZURE["hooks"]
    assert hooks["predeploy"]["run"] == "sh scripts/predeploy"
    assert hooks["postdeploy"]["run"] == "azd env set PACKAGE_DEPLOYED true"
    waiting = Hook(tmp_path, "predeploy")
    assert (waiting.run({}).returncode, waiting.calls("sleep")) == (0, ["120"])
    assert (waiting.run({"PACKAGE_DEPLOYED": "true"}).returncode, waiting.calls("sleep")) == (0, ["120"])


def test_deployment_is_tried_again_until_its_roles_are_active(tmp_path: Path) -> None:
    deployment = Hook(tmp_path, "deploy")
    deployment.replace_command(
        "azd", f'[ "$(wc -l <"$0.calls")" -gt 2 ] || {{ {TOO_EARLY}; }}; echo deployed'
    )
    completed = deployment.run({}, None, "--no-prompt")
    assert (completed.returncode, completed.stdout) == (0, "deployed\n")
    assert deployment.calls() == ["deploy --no-prompt"] * 3
    assert deployment.calls("sleep") == ["60"] * 2


def test_deployment_is_given_up_after_ten_attempts(tmp_path: Path) -> None:
    deployment = Hook(tmp_path, "deploy")
    deployment.replace_command("azd", TOO_EARLY)
    completed = deployment.run({})
    assert (completed.returncode, len(deployment.calls())) == (1, 10)
    assert "docs/deploy.md" in completed.stderr


def test_deployment_that_fails_for_another_reason_is_not_tried_again(tmp_path: Path) -> None:
    deployment = Hook(tmp_path, "deploy")
    deployment.replace_command("azd", "echo 'deployment failed: no package'; exit 1")
    completed = deployment.run({})
    assert (completed.returncode, completed.stderr) == (1, "deployment failed: no package\n")
    assert len(deployment.calls()) == 1


def test_azd_runs_the_hook_after_provisioning_and_keeps_its_output_on_the_screen() -> None:
    hook = AZURE["hooks"]["postprovision"]
    assert (hook["run"], hook["interactive"]) == ("sh scripts/postprovision", True)


@pytest.mark.parametrize("value", ["", " ", ","])
def test_deployment_says_in_red_that_its_alarms_notify_no_person(tmp_path: Path, value: str) -> None:
    completed = Hook(tmp_path, "postprovision").run({"ALARM_EMAILS": value})
    assert completed.returncode == 0
    assert completed.stderr.startswith("\033[31mThe alarms on the job itself notify no person")
    assert "azd env set ALARM_EMAILS" in completed.stderr


@pytest.mark.parametrize("name", ["ALARM_EMAILS", "ACTION_GROUP_RESOURCE_ID"])
def test_deployment_whose_alarms_notify_a_person_says_nothing_of_them(tmp_path: Path, name: str) -> None:
    completed = Hook(tmp_path, "postprovision").run({name: "soc@example.com"})
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")


def test_output_of_the_template_names_the_recipients_of_the_alarms() -> None:
    outputs = {name: snapshot(name).outputs["ALARM_RECIPIENTS"] for name in NAMES}
    assert outputs["defaults"].startswith("NO PERSON: set ALARM_EMAILS")
    assert [name for name, text in outputs.items() if "NO PERSON" not in text] != []


# ------------------------------------------------------------------------------------------------- proof and teardown

VALUES = """[ "$1" = env ] || exit 0
case $3 in
    AZURE_RESOURCE_GROUP) echo rg-x ;;
    AZURE_FUNCTION_NAME) echo func-x ;;
    LOG_ANALYTICS_WORKSPACE_RESOURCE_ID) echo /workspaces/a ;;
    LOG_ANALYTICS_MORE_WORKSPACE_RESOURCE_IDS) echo '/workspaces/b, /workspaces/c' ;;
    *) exit 1 ;;
esac"""


def test_proof_gets_the_address_and_the_key_of_the_app(tmp_path: Path) -> None:
    proof = Hook(tmp_path, "prove")
    proof.replace_command("azd", VALUES)
    proof.replace_command("az", "case $2 in show) echo app.example ;; keys) echo made-up ;; esac")
    proof.replace_command("python3", 'echo "$APP_KEY"')
    completed = proof.run({})
    assert (completed.returncode, completed.stdout) == (0, "made-up\n")
    assert proof.calls("python3") == [f"{ROOT}/scripts/prove_deployment.py https://app.example"]
    assert proof.calls("az")[1] == (
        "functionapp keys list --resource-group rg-x --name func-x --query functionKeys.default --output tsv"
    )


RESOURCES = """case $1 in
    identity) echo principal-x ;;
    functionapp) [ "$2" != list ] || echo func-x ;;
esac"""


def test_teardown_takes_the_roles_on_every_workspace_first(tmp_path: Path) -> None:
    teardown = Hook(tmp_path, "teardown")
    teardown.replace_command("azd", VALUES)
    teardown.replace_command("az", RESOURCES)
    assert teardown.run({}, None, "--force", "--purge").returncode == 0
    deleted = [call for call in teardown.calls("az") if call.startswith("role")]
    assert deleted == [
        f"role assignment delete --assignee principal-x --scope /workspaces/{name}" for name in "abc"
    ]
    assert (
        teardown.calls("az")[-1] == "functionapp vnet-integration remove --resource-group rg-x --name func-x"
    )
    assert teardown.calls()[-1] == "down --force --purge"


def test_teardown_of_a_deployment_that_failed_goes_by_the_variables(tmp_path: Path) -> None:
    teardown = Hook(tmp_path, "teardown")
    teardown.replace_command("azd", '[ "$1" = down ]')
    teardown.replace_command("az", RESOURCES)
    completed = teardown.run({"AZURE_ENV_NAME": "x", "LOG_ANALYTICS_WORKSPACE_RESOURCE_ID": "/workspaces/a"})
    assert completed.returncode == 0
    assert "role assignment delete --assignee principal-x --scope /workspaces/a" in teardown.calls("az")
    assert "lock list --resource-group rg-x --query [].id --output tsv" in teardown.calls("az")


def test_teardown_of_locked_incidents_removes_nothing_and_names_the_lock(tmp_path: Path) -> None:
    teardown = Hook(tmp_path, "teardown")
    teardown.replace_command("azd", VALUES)
    teardown.replace_command("az", "echo /locks/incidents")
    completed = teardown.run({})
    assert completed.returncode == 1
    assert 'az lock delete --ids "/locks/incidents"' in completed.stderr
    assert len(teardown.calls("az")) == 1


# ------------------------------------------------------------------------------------------------------------ the pages


@pytest.mark.parametrize("page", ["README.md", "docs/deploy.md", "docs/security.md"])
def test_pages_name_only_outputs_that_are_there(page: str) -> None:
    outputs = set(snapshot("defaults").outputs) | {
        "AZURE_SUBSCRIPTION_ID",
        "AZURE_LOCATION",
        "AZURE_ENV_NAME",
        "ALARM_EMAILS",
    }
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"azd env get-value (\w+)", text)) <= outputs


def test_page_names_deployments_by_the_environment() -> None:
    """A deployment of a name is bound to its region, and two at a time overwrite each other's parts."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    names = re.findall(r"az deployment sub create --name (\S+)", text)
    assert names
    assert set(names) == {'"$AZURE_ENV_NAME"'}


def commands(page: str) -> str:
    """The code blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^ *```\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL))


def test_package_without_azd_is_uploaded_as_it_was_tested() -> None:
    """`config-zip` asks for a second build in the cloud, whatever is said to it."""
    assert "--data-binary @out/app.zip" in commands("docs/deploy.md")
    assert "/api/publish" in commands("docs/deploy.md")
    assert "config-zip" not in commands("docs/deploy.md")


def test_page_asks_for_the_right_to_deploy_beside_the_workspace() -> None:
    """A module is a deployment of its own, in the resource group of the workspace."""
    module = (ROOT / "infra" / "main.bicep").read_text(encoding="utf-8").partition("module readers ")[2]
    assert "scope: resourceGroup(split(id, '/')[2], split(id, '/')[4])" in module.partition("\n]")[0]
    prerequisites = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").partition("## With azd")[0]
    assert "`Microsoft.Resources/deployments/*` in its resource group" in prerequisites


def test_page_removes_by_the_script_that_frees_roles_and_subnet() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    removal = page.partition("**Remove**")[2].partition("\n#")[0]
    assert "`sh scripts/teardown --purge`" in removal
    assert "az functionapp vnet-integration remove" in removal


@pytest.mark.parametrize("page", ["docs/deploy.md", "docs/security.md"])
def test_page_reads_changed_secrets_by_a_refresh(page: str) -> None:
    assert "/config/configreferences/appsettings/refresh?api-version=2022-03-01" in commands(page)
    assert "functionapp restart" not in commands(page)


def test_page_has_what_repairs_and_what_pauses() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert "azd provision --no-state" in page
    disabled = set(re.findall(r"AzureWebJobs\.(\w+)\.Disabled=true", page))
    source = (ROOT / "function_app.py").read_text(encoding="utf-8")
    assert disabled == set(re.findall(r"@app\.timer_trigger\(.+\)\ndef (\w+)", source))


def test_page_asks_for_a_heartbeat_in_the_first_hour() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert "export HEARTBEAT_URL=" in page.partition("## The first hour")[2].partition("\nCommon problems")[0]


def test_page_names_the_providers_of_all_that_is_created() -> None:
    templates = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "infra").glob("*.bicep"))
    needed = set(re.findall(r"'Microsoft\.(\w+)/", templates)) - {"Resources"}  # that one is always there
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^ *for name in (.+); do$", page, flags=re.MULTILINE)[0].split())
    # An alarm that is raised is a resource of AlertsManagement; no template has it.
    assert named == needed | {"AlertsManagement"}
