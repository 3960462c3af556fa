"""Build the app's package: out/package and out/app.zip. Needs Python 3.13, as in Azure, and nothing else.

The package contains all dependencies and the bytecode: a deployment resolves and builds nothing, and a cold
start compiles nothing. Equal sources give equal bytes.
"""

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from platform import python_version_tuple
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "out" / "package"
ARCHIVE = ROOT / "out" / "app.zip"
APP = ("function_app.py", "host.json", "requirements.txt", "detection")
# The command line and the files that only it uses, as patterns. .funcignore repeats them for other tools.
EXCLUDED = (
    "__main__.py",
    "backtest",
    "check/canary.py",
    "check/checks.py",
    "check/destinations.py",
    "check/page.py",
    "check/truth.yaml",
    "cli",
    "content/connectors/*.objects.yaml",
    "content/rules/*/tests",
    "correlation/pairs.py",
    "drafting",
    "logs/files",
    "logs/history",
    "ruletests",
    "runs/replay.py",
)
LIBRARIES = ".python_packages/lib/site-packages"  # the Functions host adds this folder to the path
HOME = "/home/site/wwwroot"  # the host unpacks the app here; tracebacks show this path
# Flex Consumption runs Linux on x86-64; wheels for any of these platforms fit its C library.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip file can store


def files_of_the_app() -> list[Path]:
    """Return the app's files, relative to the checkout. Skips bytecode, which may be of another Python."""
    excluded = [path for name in EXCLUDED for path in (ROOT / "detection").glob(name)]
    roots = [ROOT / name for name in APP]
    paths = [path for root in roots for path in ([root] if root.is_file() else sorted(root.rglob("*")))]
    return [
        path.relative_to(ROOT)
        for path in paths
        if path.is_file()
        and "__pycache__" not in path.parts
        and not any(path.is_relative_to(excluded_path) for excluded_path in excluded)
    ]


def install(folder: Path) -> None:
    """Install the locked dependencies into a folder: wheels for Azure, with verified hashes."""
    platforms = [argument for name in PLATFORMS for argument in ("--platform", name)]
    wheels = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.13", "--no-compile"]
    locked = ["--require-hashes", "--requirement", str(ROOT / "requirements.txt"), "--target", str(folder)]
    with TemporaryDirectory() as own:  # the Python of a Linux distribution may lack pip
        venv.create(own, with_pip=True)
        pip = [f"{own}/bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *platforms, *wheels, *locked], check=True)
    remove_commands(folder)


def remove_commands(folder: Path) -> None:
    """Remove console scripts: unused in Azure, and each contains the path of this machine's Python."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for record in folder.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        record.write_text(
            "".join(line for line in lines if not line.startswith("../../bin/")), encoding="utf-8"
        )


def compile_all(folder: Path) -> None:
    """Compile all sources to bytecode that is never checked against its source: unpacking changes the times.

    A single process compiles everything: which strings bytecode shares depends on the files that the process
    compiled before.
    """
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", HOME]
    subprocess.run([sys.executable, "-m", "compileall", *options, str(folder)], check=True)


def write_zip(folder: Path, archive: Path) -> None:
    """Zip a folder in sorted order, without times, permissions or owners."""
    with ZipFile(archive, "w") as zip_file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = ZipInfo(path.relative_to(folder).as_posix(), LONG_AGO)
                entry.external_attr = 0o644 << 16
                zip_file.writestr(entry, path.read_bytes(), ZIP_DEFLATED, compresslevel=6)


def main() -> None:
    """Build the package from scratch."""
    if python_version_tuple()[:2] != ("3", "13"):
        raise SystemExit("Azure reads only bytecode of Python 3.13; run make package, which finds it")
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for path in files_of_the_app():
        (PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, PACKAGE / path)
    install(PACKAGE / LIBRARIES)
    compile_all(PACKAGE)
    write_zip(PACKAGE, ARCHIVE)
    # azd zips the folder itself. Without this file it would omit the bytecode. azd does not pack the file.
    (PACKAGE / ".funcignore").write_text("# everything in this folder belongs to the app\n", encoding="utf-8")
    print(f"{ARCHIVE.relative_to(ROOT)}: {ARCHIVE.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
