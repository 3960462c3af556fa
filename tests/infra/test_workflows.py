"""The GitHub workflows, as far as they can be judged without GitHub."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.regenerate import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
ZIZMOR = ROOT / ".venv-infra" / "bin" / "zizmor"
USES = re.compile(r"uses: (?P<action>[\w.-]+/[\w./-]+)@(?P<commit>[0-9a-f]{40}) # v\d+\.\d+\.\d+")

Step = dict[str, Any]


def workflow(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


JOBS = {f"{path.stem}/{name}": job for path in FILES for name, job in workflow(path)["jobs"].items()}
STEPS: list[tuple[str, Step]] = [(job, step) for job, one in JOBS.items() for step in one["steps"]]


def unpinned(text: str) -> list[str]:
    """The lines that use an action by anything but a commit with its version behind it."""
    lines = [line.strip().removeprefix("- ") for line in text.splitlines() if "uses:" in line]
    return [line for line in lines if not USES.fullmatch(line)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_actions_are_pinned_to_commits(path: Path) -> None:
    assert unpinned(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "ref", ["v7", "main", "3d3c42e # v7.0.1", "3d3c42e5aac5ba805825da76410c181273ba90b1"]
)
def test_action_by_anything_else_is_found(ref: str) -> None:
    assert unpinned(f"      - uses: actions/checkout@{ref}\n") == [f"uses: actions/checkout@{ref}"]


def test_an_action_is_one_version_everywhere() -> None:
    found = {
        (use["action"], use["commit"])
        for path in FILES
        for use in USES.finditer(path.read_text(encoding="utf-8"))
    }
    assert len(found) == len({action for action, _ in found})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.stem))
def test_workflow_may_read_and_nothing_else(path: Path) -> None:
    assert workflow(path)["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("name", JOBS)
def test_job_that_gets_a_token_for_azure_has_an_environment(name: str) -> None:
    permissions = JOBS[name].get("permissions", {})
    assert set(permissions.items()) <= {("contents", "read"), ("id-token", "write")}
    assert ("id-token" in permissions) == ("environment" in JOBS[name])


@pytest.mark.parametrize("name", JOBS)
def test_job_ends_some_time(name: str) -> None:
    assert JOBS[name]["timeout-minutes"] <= 60


def test_checkout_keeps_no_token() -> None:
    checkouts = [step for _, step in STEPS if "actions/checkout" in step.get("uses", "")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(JOBS)


def test_nothing_is_pasted_into_a_command() -> None:
    assert [step["run"] for _, step in STEPS if "${{" in step.get("run", "")] == []


def test_secrets_are_in_no_pull_request() -> None:
    asked = {path.stem for path in FILES if "secrets." in path.read_text(encoding="utf-8")}
    triggers = {path.stem: set(workflow(path)[True]) for path in FILES}  # YAML takes `on` for true
    assert [name for name in asked if triggers[name] != {"workflow_dispatch"}] == []


def test_make_targets_are_there() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    called = {target for _, step in STEPS for target in re.findall(r"^make ([\w-]+)", step.get("run", ""))}
    assert called
    assert called <= targets


def test_tests_run_on_every_python_that_is_supported() -> None:
    supported = re.findall(
        r"3\.\d+", (ROOT / "scripts" / "venv").read_text(encoding="utf-8").split("case", 1)[1]
    )
    assert JOBS["test/code"]["strategy"]["matrix"]["python"] == list(dict.fromkeys(supported))


def test_files_that_commands_name_are_there() -> None:
    named = {path for _, step in STEPS for path in re.findall(r"\binfra/[\w.-]+", step.get("run", ""))}
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_azd_is_told_of_values_under_the_names_that_it_reads() -> None:
    known = set(
        re.findall(r"\$\{(\w+)\}", (ROOT / "infra" / "main.parameters.json").read_text(encoding="utf-8"))
    )
    (given,) = [
        step["env"]
        for job, step in STEPS
        if job == "deploy/deploy" and "azd provision" in step.get("run", "")
    ]
    assert set(given) <= known


# ---------------------------------------------------------------------------------------------------------- zizmor


def zizmor(path: Path) -> int:
    """What zizmor, which knows the ways in which workflows are attacked, says of a file or folder."""
    assert ZIZMOR.exists(), "run make lint-infra"
    command = [str(ZIZMOR), "--offline", "--no-progress", "--quiet", "--persona", "pedantic", str(path)]
    return subprocess.run(command, check=False).returncode


@pytest.mark.infra
def test_zizmor_finds_nothing() -> None:
    assert zizmor(FOLDER) == 0


@pytest.mark.infra
def test_zizmor_finds_what_is_pasted_into_a_command(tmp_path: Path) -> None:
    bad = (
        (FOLDER / "infra.yml")
        .read_text(encoding="utf-8")
        .replace("az bicep install", "echo ${{ github.head_ref }}")
    )
    (tmp_path / "bad.yml").write_text(bad, encoding="utf-8")
    assert zizmor(tmp_path / "bad.yml") != 0
