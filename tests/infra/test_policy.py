"""checkov's rules about the templates. It runs in an environment of its own (`make lint-infra` makes it), and passes silently
what it cannot read, so that is looked at first.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.regenerate import ROOT

INFRA = ROOT / "infra"
CHECKOV = ROOT / ".venv-infra" / "bin" / "checkov"
pytestmark = pytest.mark.infra

# What is not followed, and why.
DELIBERATE = {
    "CKV_AZURE_13": "the app answers no requests: nobody could sign in",
    "CKV_AZURE_17": "the app answers no requests: nobody could show a certificate",
    "CKV_AZURE_35": "set by the parameter privateNetwork, which checkov does not work out",
    "CKV_AZURE_41": "a webhook's URL that expired on a day would silence the alerts on that day",
    "CKV_AZURE_42": "soft delete is on; purge protection is a parameter, as it cannot be undone",
    "CKV_AZURE_43": "the name is st and thirteen letters and digits, which checkov does not work out",
    "CKV_AZURE_63": "the app answers no requests, and this is not a setting of a Functions app",
    "CKV_AZURE_65": "the app answers no requests, and this is not a setting of a Functions app",
    "CKV_AZURE_66": "the app answers no requests, and this is not a setting of a Functions app",
    "CKV_AZURE_80": "there is no .NET in it",
    "CKV_AZURE_88": "the app keeps no files",
    "CKV_AZURE_109": "set by the parameter privateNetwork, which checkov does not work out",
    "CKV_AZURE_110": "a parameter, as it cannot be undone: the secrets can all be made anew",
    "CKV_AZURE_114": "the type is set; checkov does not see it behind a condition",
    "CKV_AZURE_189": "set by the parameter privateNetwork, which checkov does not work out",
    "CKV_AZURE_206": "what is kept for days is worth one region; an incident is also where the webhook leads",
    "CKV_AZURE_212": "a timer runs on one instance, and Flex Consumption starts another when it fails",
    "CKV_AZURE_213": "the app answers no requests; its own alarms watch its runs",
    "CKV_AZURE_222": "packages are deployed through the app's own endpoint, with an Entra token",
    "CKV_AZURE_225": "an hourly run that fails is made up for by the next one",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What checkov found: the rules that are not followed, and how much it could not read."""

    broken: frozenset[str]
    unread: int
    resources: int


def judge(folder: Path) -> Verdict:
    """Asks checkov about a folder. A rule that crashes counts as not followed."""
    assert CHECKOV.exists(), "run make lint-infra"
    options = ["--skip-download", "--framework", "bicep", "--directory", str(folder), "--output", "json"]
    done = subprocess.run([str(CHECKOV), *options], capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    if "results" not in answer:  # nothing could be read at all
        return Verdict(frozenset(), answer["parsing_errors"], answer["resource_count"])
    failed = {check["check_id"] for check in answer["results"]["failed_checks"]}
    crashed = set(re.findall(r"Failed to run check (\w+)", done.stderr))
    return Verdict(
        frozenset(failed | crashed), answer["summary"]["parsing_errors"], answer["summary"]["resource_count"]
    )


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    return judge(INFRA)


def test_every_file_is_read(verdict: Verdict) -> None:
    assert (verdict.unread, verdict.resources > 20) == (0, True)


def test_what_is_not_followed_is_deliberate(verdict: Verdict) -> None:
    assert verdict.broken - set(DELIBERATE) == set()


def test_nothing_is_excused_that_is_followed(verdict: Verdict) -> None:
    assert set(DELIBERATE) - verdict.broken == set()


def mistaken(folder: Path, name: str, old: str, new: str) -> Path:
    """A copy of the templates with a mistake."""
    copy = Path(shutil.copytree(INFRA, folder / "infra"))
    text = (copy / name).read_text(encoding="utf-8")
    assert old in text
    (copy / name).write_text(text.replace(old, new), encoding="utf-8")
    return copy


def test_file_that_cannot_be_read_is_not_passed_silently(tmp_path: Path) -> None:
    assert judge(mistaken(tmp_path, "vault.bicep", "properties: {", "properties {")).unread == 1


def test_old_encryption_is_found(tmp_path: Path) -> None:
    copy = mistaken(tmp_path, "storage.bicep", "'TLS1_2'", "'TLS1_0'")
    assert judge(copy).broken - set(DELIBERATE) == {"CKV_AZURE_44"}
