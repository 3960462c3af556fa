"""The GitHub workflows, as far as they can be judged without GitHub."""

import re
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.parameters import SECRETS, VARIABLES
from tests.infra.snapshots import NAMES, snapshot
from tests.regenerate import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
ZIZMOR = ROOT / ".venv-infra" / "bin" / "zizmor"
USES = re.compile(r"uses: (?P<action>[\w.-]+/[\w./-]+)@(?P<commit>[0-9a-f]{40}) # v\d+\.\d+\.\d+")
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
INSTALL = 'az bicep install --version "v$(cat infra/bicep-version)"'

Step = dict[str, Any]


def workflow(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return loaded


JOBS = {f"{path.stem}/{name}": job for path in FILES for name, job in workflow(path)["jobs"].items()}
STEPS: list[tuple[str, Step]] = [
    (job, step) for job, definition in JOBS.items() for step in definition["steps"]
]


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
    versions = {
        (use["action"], use["commit"])
        for path in FILES
        for use in USES.finditer(path.read_text(encoding="utf-8"))
    }
    assert len(versions) == len({action for action, _ in versions})


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
    waits_for_the_timer = any("scripts/prove" in step.get("run", "") for step in JOBS[name]["steps"])
    assert JOBS[name]["timeout-minutes"] <= (180 if waits_for_the_timer else 60)


def test_checkout_keeps_no_token() -> None:
    checkouts = [step for _, step in STEPS if "actions/checkout" in step.get("uses", "")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(JOBS)


def test_nothing_is_pasted_into_a_command() -> None:
    assert [step["run"] for _, step in STEPS if "${{" in step.get("run", "")] == []


def test_secrets_are_in_no_pull_request() -> None:
    secret_workflows = {path.stem for path in FILES if "secrets." in path.read_text(encoding="utf-8")}
    triggers = {path.stem: set(workflow(path)[True]) for path in FILES}  # YAML takes `on` for true
    assert [name for name in secret_workflows if triggers[name] != {"workflow_dispatch"}] == []


def test_make_targets_are_there() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    called = {
        target
        for _, step in STEPS
        for target in re.findall(r"^(?:BICEP=\S+ )?make ([\w-]+)", step.get("run", ""))
    }
    assert called
    assert called <= targets


def test_tests_run_on_every_python_that_is_supported() -> None:
    supported = re.findall(
        r"3\.\d+", (ROOT / "scripts" / "venv").read_text(encoding="utf-8").split("case", 1)[1]
    )
    assert JOBS["test/code"]["strategy"]["matrix"]["python"] == list(dict.fromkeys(supported))
    lowest, above = re.findall(r"requires-python = .*?(3\.\d+).*?(3\.\d+)", PROJECT)[0]
    minors = [int(version.removeprefix("3.")) for version in (*dict.fromkeys(supported), above)]
    assert minors == list(range(int(lowest.removeprefix("3.")), minors[-1] + 1))


@pytest.mark.parametrize("name", NAMES)
def test_app_runs_on_a_python_whose_failures_stop_a_change(name: str) -> None:
    (runtime,) = [
        resource["properties"]["functionAppConfig"]["runtime"]["version"]
        for resource in snapshot(name).of_type("Microsoft.Web/sites")
    ]
    assert f"'{runtime}'" not in JOBS["test/code"]["continue-on-error"]
    assert runtime in JOBS["test/code"]["strategy"]["matrix"]["python"]


def test_files_that_commands_name_are_there() -> None:
    named = {path for _, step in STEPS for path in re.findall(r"\binfra/[\w.-]+", step.get("run", ""))}
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def step_environment(job: dict[str, Any], command: str) -> dict[str, str]:
    """The environment of the step of a job that runs a command, with the job's own."""
    (step,) = [step for step in job["steps"] if command in step.get("run", "")]
    return {**job.get("env", {}), **step["env"]}


def missing_variables(job: dict[str, Any], command: str) -> list[str]:
    """The variables of a deployment that a step does not hand on from where GitHub keeps them."""
    environment = step_environment(job, command)
    sources = {name: f"{'secrets' if name in SECRETS else 'vars'}.{name}" for name in VARIABLES.values()}
    return [name for name, place in sources.items() if environment.get(name) != f"${{{{ {place} }}}}"]


def test_deployment_hands_on_every_variable() -> None:
    assert missing_variables(JOBS["deploy/deploy"], "azd provision") == []


@pytest.mark.parametrize("variable", VARIABLES.values())
def test_variable_that_is_not_handed_on_is_found(variable: str) -> None:
    job = deepcopy(JOBS["deploy/deploy"])
    for environment in (job["env"], *(step.get("env", {}) for step in job["steps"])):
        environment.pop(variable, None)
    assert missing_variables(job, "azd provision") == [variable]


def test_what_if_asks_with_every_value_of_the_deployment_but_the_secrets() -> None:
    assert set(missing_variables(JOBS["infra/what-if"], "sub what-if")) == SECRETS
    assert step_environment(JOBS["infra/what-if"], "sub what-if")["WEBHOOK_URL"] == "https://example.com/hook"


def test_azd_asks_nobody() -> None:
    commands = [step["run"] for _, step in STEPS if re.search(r"\bazd (?!auth)\w+", step.get("run", ""))]
    assert commands
    assert [command for command in commands if "--no-prompt" not in command] == []


def test_azd_compiles_with_the_compiler_of_the_tests() -> None:
    commands = [step.get("run", "") for step in JOBS["deploy/deploy"]["steps"]]
    installed = commands.index(INSTALL)
    (judged,) = [index for index, command in enumerate(commands) if "make lint-infra" in command]
    (deployed,) = [index for index, command in enumerate(commands) if "azd provision" in command]
    assert installed < judged < deployed
    assert commands[judged].startswith('BICEP="$HOME/.azure/bin/bicep" ')
    assert commands[deployed].startswith('AZD_BICEP_TOOL_PATH="$HOME/.azure/bin/bicep" ')


def test_azure_cli_compiles_with_the_pinned_compiler() -> None:
    commands = [step.get("run", "") for step in JOBS["infra/what-if"]["steps"]]
    assert commands.index(INSTALL) < next(
        index for index, command in enumerate(commands) if "deployment" in command
    )


@pytest.mark.parametrize("name", ["deploy/deploy", "e2e/e2e"])
def test_deployment_is_proven_by_the_app_itself(name: str) -> None:
    commands = [step.get("run", "") for step in JOBS[name]["steps"]]
    (deployed,) = [index for index, command in enumerate(commands) if "scripts/deploy" in command]
    assert deployed < commands.index("sh scripts/prove")


def test_trial_deployment_is_removed_whatever_became_of_it() -> None:
    steps = JOBS["e2e/e2e"]["steps"]
    assert (steps[-1]["if"], "sh scripts/teardown" in steps[-1]["run"]) == ("always()", True)
    assert set(workflow(FOLDER / "e2e.yml")[True]) == {"workflow_dispatch"}
    assert JOBS["e2e/e2e"]["env"]["AZURE_ENV_NAME"] == "e2e-${{ github.run_id }}-${{ github.run_attempt }}"
    assert JOBS["e2e/e2e"]["environment"] != JOBS["deploy/deploy"]["environment"]


@pytest.mark.parametrize("target", ["lint-infra", "planted-errors", "lint-api-versions"])
def test_templates_are_judged_by_the_pinned_compiler(target: str) -> None:
    """A runner may have another one on its PATH."""
    for job in JOBS.values():
        commands = [step.get("run", "") for step in job["steps"]]
        judged = [index for index, command in enumerate(commands) if f"make {target}" in command]
        assert all(commands[at] == f'BICEP="$HOME/.azure/bin/bicep" make {target}' for at in judged)
        assert all(INSTALL in commands[:at] for at in judged)


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
