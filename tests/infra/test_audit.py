"""Who did what: the audit logs of vault, storage and app reach the job's own workspace, and a lock keeps the incidents."""

import pytest

from tests.infra.compiled import resources, templates
from tests.infra.snapshots import NAMES, snapshot

SETTING = "Microsoft.Insights/diagnosticSettings"
LOCK = "Microsoft.Authorization/locks"
WITH_OPTIONS = "several-destinations"  # sign-in to the page, and the lock
# https://learn.microsoft.com/azure/azure-monitor/reference/logs-index
CATEGORIES = {
    "Microsoft.KeyVault/vaults": {"AuditEvent"},
    "Microsoft.Storage/storageAccounts/tableServices": {"StorageRead", "StorageWrite", "StorageDelete"},
    "Microsoft.Storage/storageAccounts/blobServices": {"StorageWrite", "StorageDelete"},
    "Microsoft.Web/sites": {"AppServiceAuthenticationLogs"},
}


def audited(name: str) -> dict[str, set[str]]:
    """The categories of each resource that a parameter set audits, by the resource's id."""
    return {
        setting["id"].partition(f"/providers/{SETTING}/")[0]: {
            log["category"] for log in setting["properties"]["logs"] if log["enabled"]
        }
        for setting in snapshot(name).of_type(SETTING)
    }


@pytest.mark.parametrize("name", NAMES)
def test_vault_storage_and_sign_ins_are_audited(name: str) -> None:
    kinds = set(CATEGORIES) - (set() if name == WITH_OPTIONS else {"Microsoft.Web/sites"})
    assert audited(name) == {snapshot(name).single(kind)["id"]: CATEGORIES[kind] for kind in kinds}


@pytest.mark.parametrize("name", NAMES)
def test_audit_logs_go_to_the_jobs_own_workspace(name: str) -> None:
    workspace = snapshot(name).single("Microsoft.OperationalInsights/workspaces")["id"]
    assert {setting["properties"]["workspaceId"] for setting in snapshot(name).of_type(SETTING)} == {
        workspace
    }


@pytest.mark.parametrize("name", NAMES)
def test_lock_on_the_account_is_off_unless_it_is_set(name: str) -> None:
    locks = snapshot(name).of_type(LOCK)
    assert len(locks) == (name == WITH_OPTIONS)
    account = snapshot(name).single("Microsoft.Storage/storageAccounts")["id"]
    assert [lock["id"] for lock in locks] == [f"{account}/providers/{LOCK}/incidents"] * len(locks)
    assert {lock["properties"]["level"] for lock in locks} <= {
        "CanNotDelete"
    }  # ReadOnly would stop the job's host


@pytest.mark.parametrize("name", NAMES)
def test_secrets_are_protected_from_purging_only_if_it_is_set(name: str) -> None:
    """The service refuses `false`, and `true` cannot be taken back."""
    properties = snapshot(name).single("Microsoft.KeyVault/vaults")["properties"]
    assert properties.get("enablePurgeProtection") is (True if name == WITH_OPTIONS else None)
    assert properties["enableSoftDelete"]


@pytest.mark.infra
def test_lock_has_the_scope_of_the_account() -> None:
    assert resources(templates()["storage"])["lock"]["scope"].startswith(
        "[resourceId('Microsoft.Storage/storageAccounts', "
    )
