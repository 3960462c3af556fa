"""Errors planted into a copy of the deployment: each turns its own check red, after the snapshots were made anew.

Any change at all turns the comparison of the snapshots red, so that would show nothing.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.infra.compiler import MISSING, compiler
from tests.regenerate import ROOT

pytestmark = pytest.mark.planted


class PlantedError(NamedTuple):
    """An error: what is done to a file, the check that has to find it, and the snapshots that show it."""

    file: str
    plant: Callable[[str], str]
    check: str
    snapshot: str = "defaults"


def replacing(old: str, new: str) -> Callable[[str], str]:
    def plant(text: str) -> str:
        assert text.count(old) == 1
        return text.replace(old, new)

    return plant


def indexed_loop(text: str) -> str:
    """The template as it could not be deployed: a module collection indexed in a property's loop, without symbolic names.

    The compiler writes symbolic names where a module has no name of its own or a type is defined by the user.
    """
    text = replacing(
        "map(readers, reader => reader.outputs.customerId)",
        "[for (id, i) in workspaceIds: readers[i].outputs.customerId]",
    )(text)
    for name in ("tags", "resourceNames"):
        text = replacing(
            f"param {name} {{ *: string }}",
            f"#disable-next-line use-user-defined-types\nparam {name} object",
        )(text)
    return re.sub(
        r"(module (\w+) '.+' = .*\{\n|  for id in workspaceIds: \{\n)( +)(?=scope)",
        lambda module: (
            f"{module[0]}#disable-next-line no-module-name\n{module[3]}name: '{module[2] or 'readers'}-${{token}}'\n{module[3]}"
        ),
        text,
    )


ERRORS = {
    "a loop that no engine evaluates": PlantedError(
        "infra/main.bicep", indexed_loop, "test_templates.py::test_every_loop_knows_its_index"
    ),
    "a setting that the code does not read": PlantedError(
        "infra/app.bicep",
        replacing("      RULES: rules\n", "      RULES: rules\n      RULE: rules\n"),
        "test_app_settings.py::test_app_has_the_settings_that_the_code_reads",
    ),
    "a setting that is not set": PlantedError(
        "infra/app.bicep",
        replacing("      AZURE_CLIENT_ID: identityClientId\n", ""),
        "test_app_settings.py::test_app_has_the_settings_that_the_code_reads",
    ),
    "an alarm that tells nobody": PlantedError(
        "infra/alerts.bicep",
        replacing("empty(actionGroupResourceId) ? [people.id]", "empty(actionGroupResourceId) ? []"),
        "test_alarms.py::test_every_alarm_looks_at_the_jobs_log_and_tells_the_action_group",
    ),
    "an alarm that the service refuses over a new component": PlantedError(
        "infra/alerts.bicep",
        replacing("skipQueryValidation: true", "skipQueryValidation: false"),
        "test_templates.py::test_value_is_one_that_the_service_takes",
    ),
    "a host that sometimes finds no storage": PlantedError(
        "infra/app.bicep",
        replacing("      AzureWebJobsStorage__accountName: account.name\n", ""),
        "test_app_settings.py::test_app_has_the_settings_that_the_host_needs",
    ),
    "a secret as a plain setting": PlantedError(
        "infra/main.bicep",
        replacing(
            "heartbeatUrlReference: empty(heartbeatUrl) ? '' : vault.outputs.heartbeatUrlReference",
            "heartbeatUrlReference: heartbeatUrl",
        ),
        "test_app_settings.py::test_secret_is_a_reference_into_the_vault",
    ),
    "a role that is wider than needed": PlantedError(
        "infra/vault.bicep",
        replacing(
            "keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'",
            "keyVaultSecretsUser: 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'",  # Key Vault Secrets Officer
        ),
        "test_least_privilege.py::test_roles_assigned_are_the_roles_needed",
    ),
    "operators who write to the table": PlantedError(
        "infra/storage.bicep",
        replacing(
            "storageTableDataReader: '76199698-9eea-4c19-bc75-cec21354c6b6'",
            "storageTableDataReader: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'",  # Storage Table Data Contributor
        ),
        "test_least_privilege.py::test_roles_assigned_are_the_roles_needed",
        snapshot="several-destinations",
    ),
    "a key of links that every deployment replaces": PlantedError(
        "infra/vault.bicep",
        replacing("@onlyIfNotExists()\n", ""),
        "test_least_privilege.py::test_key_of_links_is_made_by_the_first_deployment_and_kept_by_all_others",
    ),
    "a way in from the internet beside the private network": PlantedError(
        "infra/storage.bicep",
        replacing(
            "publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'", "publicNetworkAccess: 'Enabled'"
        ),
        "test_network.py::test_nothing_but_endpoints_leads_to_storage_and_vault",
        snapshot="private-network",
    ),
    "a way into the vault beside the private network": PlantedError(
        "infra/vault.bicep",
        replacing(
            "publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'", "publicNetworkAccess: 'Enabled'"
        ),
        "test_network.py::test_nothing_but_endpoints_leads_to_storage_and_vault",
        snapshot="private-network",
    ),
    "reads of secrets that leave no trace": PlantedError(
        "infra/audit.bicep",
        replacing("{ category: 'AuditEvent', enabled: true }", "{ category: 'AuditEvent', enabled: false }"),
        "test_audit.py::test_vault_storage_and_sign_ins_are_audited",
    ),
    "incidents that are locked unasked": PlantedError(
        "infra/main.bicep",
        replacing("param storageLock bool = false", "param storageLock bool = true"),
        "test_audit.py::test_lock_on_the_account_is_off_unless_it_is_set",
    ),
    "a page for every user of the tenant": PlantedError(
        "infra/app.bicep",
        replacing(
            "empty(pageGroupIds) ? null : { allowedPrincipals: { groups: pageGroupIds } }",
            "empty(pageGroupIds) ? null : { allowedPrincipals: {} }",
        ),
        "test_incident_page.py::test_people_sign_in_who_are_in_an_allowed_group",
        snapshot="several-destinations",
    ),
    "an update that lets two versions overlap": PlantedError(
        "infra/app.bicep",
        replacing(
            "siteUpdateStrategy: { type: 'Recreate' }", "siteUpdateStrategy: { type: 'RollingUpdate' }"
        ),
        "test_templates.py::test_value_is_one_that_the_service_takes",
    ),
    "a package that is built again": PlantedError(
        "azure.yaml",
        replacing("remoteBuild: false", "remoteBuild: true"),
        "test_azd.py::test_what_is_deployed_is_what_make_package_made_and_is_not_built_again",
    ),
    "a package that the Azure CLI builds again": PlantedError(
        "docs/deploy.md",
        replacing(
            "\nmake package\napp=", "\naz functionapp deployment source config-zip --src out/app.zip\napp="
        ),
        "test_azd.py::test_package_without_azd_is_uploaded_as_it_was_tested",
    ),
    "a region that is not looked at": PlantedError(
        "scripts/preprovision",
        replacing("functionapp list-flexconsumption-locations'", "account list-locations'"),
        "test_azd.py::test_region_without_flex_consumption_is_refused",
    ),
    "a subnet that stays taken": PlantedError(
        "scripts/teardown",
        replacing("az functionapp vnet-integration remove", "true"),
        "test_azd.py::test_teardown_takes_the_roles_on_every_workspace_first",
    ),
    "an option that leaves a role without a word": PlantedError(
        "docs/deploy.md",
        replacing('`az role assignment delete --scope "$table" --assignee OBJECT_ID`', ""),
        "test_switches.py::test_page_has_a_command_for_everything_that_stays_behind",
    ),
    "a deployment that is tried once": PlantedError(
        ".github/workflows/deploy.yml",
        replacing("sh scripts/deploy --no-prompt", "azd deploy --no-prompt"),
        "test_workflows.py::test_deployment_is_proven_by_the_app_itself",
    ),
    "a trial that stays if it fails": PlantedError(
        ".github/workflows/e2e.yml",
        replacing("      - if: always()\n        run:", "      - run:"),
        "test_workflows.py::test_trial_deployment_is_removed_whatever_became_of_it",
    ),
    "a run that is given less time to prove itself than the host gives it": PlantedError(
        "host.json",
        replacing("00:30:00", "01:00:00"),
        "test_prove_deployment.py::test_run_may_take_as_long_as_the_host_lets_it",
    ),
    "a forged sign-in that counts as refused": PlantedError(
        "scripts/prove_deployment.py",
        replacing("REFUSED = (301,", "REFUSED = (200, 301,"),
        "test_prove_deployment.py::test_forged_sign_in_that_gets_in_is_found",
    ),
    "a sign-in unasked": PlantedError(
        "infra/app.bicep",
        replacing("platform: { enabled: !empty(pageClientId) }", "platform: { enabled: true }"),
        "test_incident_page.py::test_signing_in_is_on_where_there_is_a_registration_and_off_elsewhere",
    ),
    "a Python that may fail": PlantedError(
        "infra/app.bicep",
        replacing("version: '3.13'", "version: '3.14'"),
        "test_workflows.py::test_app_runs_on_a_python_whose_failures_stop_a_change",
    ),
    "a protection that the vault refuses": PlantedError(
        "infra/vault.bicep",
        replacing("purgeProtection ? true : null", "purgeProtection"),
        "test_audit.py::test_secrets_are_protected_from_purging_only_if_it_is_set",
    ),
    "a second environment over the first": PlantedError(
        "infra/main.bicep",
        replacing(
            "uniqueString(subscription().id, environmentName, location)",
            "uniqueString(subscription().id, location)",
        ),
        "test_names.py::test_several_environments_share_no_name_that_is_taken_once_in_the_world",
        snapshot="defaults shortest-names",
    ),
    "recipients that are not asked for": PlantedError(
        "scripts/preprovision",
        replacing('        azd env set ALARM_EMAILS "$emails"\n', "        :\n"),
        "test_azd.py::test_recipients_of_alarms_are_asked_for_and_stored",
    ),
    "an alarm over more than two days": PlantedError(
        "infra/alerts/no-complete-run.kql",
        replacing("ago(150m)", "ago(2h + 30m)"),
        "test_alarms.py::test_query_keeps_the_limits_of_log_alerts",
    ),
    "a schedule at hour 24": PlantedError(
        "infra/schedule.bicep",
        replacing("high: 23", "high: 24"),
        "test_parameters.py::test_schedules_are_taken_as_the_job_takes_them",
    ),
    "a schedule that is not looked at": PlantedError(
        "infra/main.bicepparam",
        replacing("isSchedule(DELIVER_SCHEDULE)", "length(DELIVER_SCHEDULE) > 8"),
        "test_parameters.py::test_schedule_that_the_host_refuses_is_refused",
    ),
    "an alarm of executions that relies on zeros": PlantedError(
        "infra/alerts.bicep",
        replacing("          threshold: 5\n", "          threshold: 1\n"),
        "test_alarms.py::test_few_executions_are_counted_by_another_way_than_the_log",
    ),
    "a metric of another plan": PlantedError(
        "infra/alerts.bicep",
        replacing("'OnDemandFunctionExecutionCount'", "'FunctionExecutionCount'"),
        "test_templates.py::test_value_is_one_that_the_service_takes",
    ),
    "the health of alarms that Azure calls unavailable": PlantedError(
        "infra/alerts.bicep",
        replacing("alarm.every == 'PT15M')", "alarm.every != 'PT1H')"),
        "test_alarms.py::test_alarm_that_does_not_work_is_an_alarm",
    ),
    "a dead letter that is told for a day": PlantedError(
        "detection/store/outbox.py",
        replacing("Put(row, dead), Put(DEAD_LETTERS_MARK, {})", "Put(row, dead)"),
        "test_alarms.py::test_dead_letter_is_told_as_long_as_it_is_there",
    ),
    "a run that anybody starts": PlantedError(
        "function_app.py",
        replacing(
            '"run", methods=["POST"], auth_level=func.AuthLevel.FUNCTION',
            '"run", methods=["POST"], auth_level=func.AuthLevel.ANONYMOUS',
        ),
        "test_incident_page.py::test_what_is_let_through_are_the_routes_that_look_at_signatures_or_the_functions_key",
    ),
    "a deployment that proves nothing": PlantedError(
        ".github/workflows/deploy.yml",
        replacing("      - run: sh scripts/prove\n", ""),
        "test_workflows.py::test_deployment_is_proven_by_the_app_itself",
    ),
    "a network of its own beside the existing one": PlantedError(
        "infra/network.bicep",
        replacing(
            "virtualNetworks@2025-09-01' = if (empty(appSubnetId)) {", "virtualNetworks@2025-09-01' = {"
        ),
        "test_landing_zone.py::test_existing_network_and_central_zones_are_used_and_none_is_made",
        snapshot="landing-zone",
    ),
    "a private page that is reached from anywhere": PlantedError(
        "infra/app.bicep",
        replacing(
            "publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'",
            "publicNetworkAccess: isPrivate ? 'Enabled' : 'Enabled'",
        ),
        "test_landing_zone.py::test_page_is_reached_from_anywhere_unless_it_is_private",
        snapshot="landing-zone",
    ),
    "a name that no policy can set": PlantedError(
        "infra/main.bicep",
        replacing("vaultName: names.vault", "vaultName: derivedNames.vault"),
        "test_audit.py::test_vault_storage_and_sign_ins_are_audited",
        snapshot="landing-zone",
    ),
    "an operator unasked": PlantedError(
        "infra/main.bicep",
        replacing("param deployerOperates bool = false", "param deployerOperates bool = true"),
        "test_least_privilege.py::test_roles_assigned_are_the_roles_needed",
    ),
    "endpoints made at the same time": PlantedError(
        "infra/network.bicep",
        replacing("@batchSize(1)\nresource privateEndpoints", "resource privateEndpoints"),
        "test_network.py::test_endpoints_and_records_are_made_one_after_the_other",
    ),
    "an order that is lost": PlantedError(
        "infra/main.bicep",
        replacing("  dependsOn: [telemetry]", "  dependsOn: []"),
        "test_templates.py::test_app_comes_after_all_that_it_needs",
    ),
    "a value that the plan refuses": PlantedError(
        "infra/app.bicep",
        replacing("      http20Enabled: true\n", "      http20Enabled: true\n      ftpsState: 'Disabled'\n"),
        "test_templates.py::test_site_has_nothing_that_its_plan_refuses",
    ),
    "a parameter that the workflow does not hand on": PlantedError(
        ".github/workflows/deploy.yml",
        replacing("          PRIVATE_NETWORK: ${{ vars.PRIVATE_NETWORK }}\n", ""),
        "test_workflows.py::test_deployment_hands_on_every_variable",
    ),
    "a file in another layout": PlantedError(
        "infra/identity.bicep",
        replacing("  tags: tags\n", "    tags: tags\n"),
        "test_templates.py::test_layout_is_canonical",
    ),
    "a warning": PlantedError(
        "infra/storage.bicep",
        replacing("minimumTlsVersion:", "minTlsVersion:"),
        "test_templates.py::test_compiler_has_nothing_to_say",
    ),
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of the repository, in a folder of their own."""
    if compiler() is None:
        pytest.skip(MISSING)
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():  # a file may be deleted and not yet committed
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def fails(check: str, snapshot: str, tree: Path) -> bool:
    """Whether a check is red in a tree. A snapshot that cannot be made anew stays what it was."""
    subprocess.run(
        [sys.executable, "-m", "tests.infra.snapshots", *snapshot.split()],
        cwd=tree,
        check=False,
        capture_output=True,
    )
    options = ["-q", "-p", "no:cacheprovider", "-m", "infra or not infra"]
    completed = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"tests/infra/{check}"],
        cwd=tree,
        check=False,
        capture_output=True,
        text=True,
    )
    assert completed.returncode in {0, 1}, completed.stdout + completed.stderr  # 2 to 5: nothing was checked
    assert "error" not in completed.stdout.splitlines()[-1], completed.stdout
    return completed.returncode == 1


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_planted_error_turns_its_check_red(copy: Path, error: PlantedError) -> None:
    file = copy / error.file
    file.write_text(error.plant(file.read_text(encoding="utf-8")), encoding="utf-8")
    assert fails(error.check, error.snapshot, copy)
