"""The package: unpacked in an empty folder, with nothing beside it, its functions are indexed and run, and the same
sources give the same bytes. Needs a Python 3.13 and takes the better part of a minute; `make lint-infra` runs it.
"""

import ast
import importlib.util
import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import pytest
from pathspec import GitIgnoreSpec

from benchmarks import package as package_benchmark
from benchmarks.size import TOY
from detection.rules.loading import load_rule
from tests.infra.packaged import ARCHIVE, RUN, build, python_3_13
from tests.regenerate import GOLDEN, LOGS, ROOT
from tests.support.query_api import query_api, tables_of
from tests.support.receiver import receiving

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)  # in the days of the golden logs
IGNORED = GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text(encoding="utf-8").splitlines())
RULE = load_rule("openai-config-to-abuse")


# ------------------------------------------------------------------------------------------------ what it leaves out


def package_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("package", ROOT / "scripts" / "package.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = package_script()


def not_ignored(*paths: str) -> list[str]:
    return [path for path in paths if not IGNORED.match_file(path)]


def test_package_holds_what_funcignore_leaves() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\n")
    taken = {path.as_posix() for path in SCRIPT.files_of_the_app()}
    assert taken == {path for path in not_ignored(*tracked) if path}


def test_funcignore_leaves_libraries_and_no_secrets() -> None:
    assert not_ignored(
        ".python_packages/lib/site-packages/yaml/__init__.py", "local.settings.json", ".env", ".azure/x/.env"
    ) == [".python_packages/lib/site-packages/yaml/__init__.py"]


def test_what_is_left_out_is_there() -> None:
    assert [name for name in SCRIPT.EXCLUDED if not list((ROOT / "detection").glob(name))] == []


def test_app_imports_nothing_at_the_top_that_is_left_out() -> None:
    left_out = tuple("detection." + name.removesuffix(".py").replace("/", ".") for name in SCRIPT.EXCLUDED)
    imported = {
        f"{path.name}: {name}"
        for path in SCRIPT.files_of_the_app()
        if path.suffix == ".py"
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
        if f"{name}.".startswith(tuple(f"{module_name}." for module_name in left_out))
    }
    assert imported == set()


# ------------------------------------------------------------------------------------------------------- what it is


@pytest.fixture(scope="module")
def package_hash() -> str:
    if not python_3_13():
        pytest.skip("there is no Python 3.13 here")
    return build()


@pytest.fixture(scope="module")
def unpacked(package_hash: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wwwroot")
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def package_run(unpacked: Path, azurite: str) -> Iterator[dict[str, Any]]:
    """What running every function of the package brought, on real parts around it."""
    with tables_of(LOGS, RULE.tables) as tables, query_api(tables) as api, receiving() as receiver:
        api.moment = NOON
        settings = {
            "LOG_ANALYTICS_WORKSPACE_ID": str(uuid4()),
            "LOG_ANALYTICS_ENDPOINT": api.endpoint,
            "INCIDENT_STORAGE": azurite,
            "INCIDENT_TABLE": f"t{uuid4().hex[:20]}",
            "WEBHOOK_URL": receiver.url,
        }
        completed = subprocess.run(
            [python_3_13(), "-I", "-S", str(RUN), str(unpacked), NOON.isoformat(), "run"],
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"], **settings},
        )
        result = json.loads(completed.stdout.splitlines()[-1])
        print({name: result[name] for name in ("index_seconds", "seconds", "peak_mib")})
        yield {**result, "posted": receiver.messages}


@pytest.mark.infra
def test_every_function_is_indexed_and_runs(package_run: dict[str, Any]) -> None:
    assert package_run["failures"] == {"deliver": None, "detect": None}
    assert package_run["run"] == 204
    status, body = package_run["health"]
    assert (status, {finding["level"] for finding in json.loads(body)["findings"]}) == (200, {"green"})


@pytest.mark.infra
def test_incident_page_is_in_it_and_no_timer_loads_it(package_run: dict[str, Any]) -> None:
    status, page = package_run["page"]
    assert (status, package_run["jinja_before_a_page"]) == (200, False)
    assert "then hit the content filter" in page


@pytest.mark.infra
def test_run_finds_what_the_golden_folder_holds_and_posts_it(package_run: dict[str, Any]) -> None:
    record, second_record = [
        json.loads(line[line.index("{") :]) for line in package_run["lines"] if "detection.run" in line
    ]
    assert second_record["new_pairs"] == 0
    golden = (GOLDEN / "matches.default.jsonl").read_text(encoding="utf-8").splitlines()
    assert (record["pairs"], len(package_run["posted"])) == (len(golden), len(record["alert_ids"]))


@pytest.mark.infra
def test_nothing_is_imported_from_beside_the_package(package_run: dict[str, Any]) -> None:
    assert package_run["foreign"] == []


@pytest.mark.infra
def test_nothing_is_left_to_compile(package_run: dict[str, Any]) -> None:
    assert package_run["compiled_here"] == []


@pytest.mark.infra
def test_bytecode_is_never_compared_with_its_source(unpacked: Path) -> None:
    flags = {path.read_bytes()[4] for path in unpacked.rglob("*.pyc")}
    assert flags == {1}  # PEP 552: by hash, and unchecked


@pytest.mark.infra
def test_names_no_folder_of_this_machine(unpacked: Path) -> None:
    names = [str(ROOT).encode(), str(Path(python_3_13()).parent).encode() + b"/"]
    files = [
        path for path in unpacked.rglob("*") if path.is_file() and path.suffix != ".so"
    ]  # others built those
    assert [
        path for path in files if any(len(name) > 2 and name in path.read_bytes() for name in names)
    ] == []


@pytest.mark.infra
def test_extension_modules_are_for_the_cloud(unpacked: Path) -> None:
    modules = [path.name for path in unpacked.rglob("*.so") if "cpython-" in path.name]
    assert modules
    assert [name for name in modules if not name.endswith("cpython-313-x86_64-linux-gnu.so")] == []


@pytest.mark.infra
def test_benchmark_runs_the_package(unpacked: Path) -> None:
    figures = package_benchmark.tables(TOY, unpacked)["package"]
    assert [row["changes"] for row in figures.dicts()] == ["1"]


@pytest.mark.slow
def test_same_sources_give_the_same_bytes(package_hash: str) -> None:
    assert build() == package_hash
