"""Plant small faults (mutants) in the core and check that the tests notice each.

`python scripts/mutants.py` tries a sample of the mutants of each area; `--all` tries every mutant, which
takes hours. Exits with 1 if a mutant survives that tests/equivalent_mutants.yaml does not name. mutmut makes
the mutants and runs the tests that reach them.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "out" / "mutants"
NODE = "node_modules"  # too large to copy for each area
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.yaml"
SURVIVED, NO_TESTS, TIMEOUT = "survived", "no tests", "timeout"


class Area(NamedTuple):
    """Modules, and the tests that must notice their mutants.

    Tests whose names begin as in `slow_tests` are left out: they notice no more than others.
    """

    modules: Sequence[str]
    tests: Sequence[str]
    slow_tests: Sequence[str] = ()


AREAS = {
    "windows": Area(
        ["logs/window.py"],
        ["tests/logs/test_window.py", "tests/runs", "tests/correlation/test_thresholds.py"],
    ),
    "correlation": Area(["correlation/*"], ["tests/correlation"], ["tests/correlation/test_parity.py"]),
    "incidents": Area(
        ["incidents/*"], ["tests/incidents"], ["tests/incidents/test_evidence.py::test_largest_part"]
    ),
    "store": Area(
        ["store/*"],
        [
            "tests/store",
            "tests/runs/test_clean_up.py",
            "tests/runs/test_gap.py",
            "tests/incidents/test_regrouping.py",
            "tests/delivery/test_former_rules.py",
        ],
    ),
    "runs": Area(["runs/*"], ["tests/runs", "tests/correlation/test_thresholds.py"]),
    "delivery": Area(["delivery/*"], ["tests/delivery", "tests/messages/test_digest.py"]),
    "splitting": Area(
        ["logs/log_analytics/*"],
        [
            "tests/logs/log_analytics",
            "tests/logs/test_actors.py::test_slices_hold_what_the_whole_holds_and_nobody_is_in_two",
        ],
    ),
}
# A changed text of an error or a log line is no fault of the decision that leads to it.
UNTESTED_STATEMENTS = [r"^\s*raise ", r"^\s*(log_event|warn|write_remark)\("]


class Change(NamedTuple):
    """A mutant as a change of lines, without their indentation."""

    removed: str
    added: str


def main() -> int:
    """Run the mutants of the areas that the command line names, all areas by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"one of {', '.join(AREAS)}; default: all")
    parser.add_argument("--sample", type=int, default=30, help="number of mutants of each area (default 30)")
    parser.add_argument("--seed", type=int, default=1, help="selects the sample (default 1)")
    parser.add_argument("--all", action="store_true", help="try every mutant")
    options = parser.parse_args()
    if unknown := set(options.areas) - AREAS.keys():
        parser.error(f"no area {', '.join(sorted(unknown))}: the areas are {', '.join(AREAS)}")
    equivalents = {
        Change(entry["removed"], entry["added"]) for entry in yaml.safe_load(EQUIVALENT.read_text())
    }
    unnoticed = 0
    for name in options.areas or AREAS:
        folder = _prepare(name, AREAS[name])
        sample = _mutants(folder) if options.all else _sample(_mutants(folder), options.sample, options.seed)
        _mutmut(folder, "run", *sample)
        results = _results(folder)
        unnoticed += _report(name, {mutant: results[mutant] for mutant in sample}, folder, equivalents)
    return 1 if unnoticed else 0


def _prepare(name: str, area: Area) -> Path:
    """A folder with the project in it, set up for the area; makes all its mutants and times its tests."""
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in {"out", ".git"}:
            (folder / path.name).symlink_to(path)
    (folder / "mutants").mkdir()
    (folder / "mutants" / NODE).symlink_to(ROOT / NODE)
    settings = {
        "source_paths": ["detection"],
        "only_mutate": [f"detection/{pattern}" for pattern in area.modules],
        "do_not_mutate_patterns": UNTESTED_STATEMENTS,
        "also_copy": [
            path.name for path in ROOT.iterdir() if path.name not in {"out", NODE} and path.name[0] != "."
        ],
        "pytest_add_cli_args": [
            *("-q", "-x", "-p", "no:cacheprovider", "-p", "fastest_first"),
            *(f"--deselect={test}" for test in area.slow_tests),
        ],
        "pytest_add_cli_args_test_selection": list(area.tests),
        # A mutant has (the time of its tests + 30 s) * 3; mutmut's own factor of 15 waits minutes for a hang.
        "timeout_constant": ["30"],
        "timeout_multiplier": ["3"],
    }
    lines = ["[mutmut]"]
    for key, texts in settings.items():
        lines += (
            [f"{key} =", *(f"    {text}" for text in texts)] if len(texts) > 1 else [f"{key} = {texts[0]}"]
        )
    (folder / "setup.cfg").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: making the mutants and timing the tests", flush=True)
    # mutmut runs the tests before it looks for the mutants that it is to try: none has this name.
    made = _mutmut(folder, "run", "none", check=False)
    if (
        not any((folder / "mutants").rglob("*.meta"))
        or not (folder / "mutants" / "mutmut-stats.json").exists()
    ):
        sys.exit(f"{name}: mutmut made no mutants\n{made}")
    return folder


def _mutmut(folder: Path, *arguments: str, check: bool = True) -> str:
    command = [str(Path(sys.executable).parent / "mutmut"), *arguments]
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},  # for fastest_first
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate()
        finally:
            # A worker that mutmut kills after its time leaves the servers of its tests behind.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if check and process.returncode:
        sys.exit(f"{' '.join(command[:2])} ended with {process.returncode}\n{f'{stdout}{stderr}'[-4000:]}")
    return stdout


def _mutants(folder: Path) -> list[str]:
    return [
        name
        for path in sorted((folder / "mutants").rglob("*.meta"))
        for name in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    ]


def _sample(mutants: Sequence[str], count: int, seed: int) -> list[str]:
    """The mutants with the lowest hashes: a change of the code replaces only mutants of what it changes."""
    return sorted(mutants, key=lambda mutant: sha256(f"{seed} {mutant}".encode()).digest())[:count]


def _results(folder: Path) -> dict[str, str]:
    """What became of each mutant, by mutmut's name of it."""
    lines = _mutmut(folder, "results", "--all", "true").splitlines()
    return dict(line.strip().rsplit(": ", 1) for line in lines if ": " in line)


def _report(area: str, results: dict[str, str], folder: Path, equivalents: set[Change]) -> int:
    """Print the mutants that no test noticed; returns how many of them are not named as equivalent."""
    survivors = [name for name, result in results.items() if result in {SURVIVED, NO_TESTS}]
    unnamed = {name: change for name in survivors if (change := _change(folder, name)) not in equivalents}
    for name, change in unnamed.items():
        print(f"  {results[name]}: {name}\n    - {change.removed}\n    + {change.added}")
    noticed = len(results) - len(survivors)
    timeouts = sum(result == TIMEOUT for result in results.values())  # a busy machine causes them, too
    print(
        f"{area}: {len(results)} mutants, {noticed} noticed ({timeouts} by a timeout), "
        f"{len(survivors) - len(unnamed)} equivalent, {len(unnamed)} not noticed",
        flush=True,
    )
    return len(unnamed)


def _change(folder: Path, mutant: str) -> Change:
    lines = _mutmut(folder, "show", mutant).splitlines()
    removed, added = (
        " ".join(
            line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(sign * 3)
        )
        for sign in "-+"
    )
    return Change(removed, added)


if __name__ == "__main__":
    sys.exit(main())
