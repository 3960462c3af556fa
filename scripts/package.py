"""Makes the app's package: out/package, and the same as out/app.zip. Run by a Python 3.13, the one of the cloud; needs
nothing but its standard library.

Everything that the app needs is inside, down to the bytecode: nothing is resolved or built anew when it is deployed, and a
cold start compiles nothing. The same sources give the same bytes.
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
# The command line, and what only it reads or reads with, as patterns. .funcignore says the same to other tools.
EXCLUDED = (
    "__main__.py",
    "backtest",
    "check/canary.py",
    "check/checks.py",
    "check/destinations.py",
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
LIBRARIES = ".python_packages/lib/site-packages"  # where the Functions host puts them on the path
HOME = "/home/site/wwwroot"  # where the host unpacks the app; tracebacks name it
# Flex Consumption runs 64-bit Intel Linux; wheels of any of these kinds fit its C library.
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold


def files_of_the_app() -> list[Path]:
    """What belongs to the app, relative to the checkout. Bytecode that lies about is of other Pythons."""
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
    """Puts the locked dependencies into a folder: wheels for the cloud, each of the hash that is locked."""
    platforms = [argument for name in PLATFORMS for argument in ("--platform", name)]
    wheels = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.13", "--no-compile"]
    locked = ["--require-hashes", "--requirement", str(ROOT / "requirements.txt"), "--target", str(folder)]
    with TemporaryDirectory() as own:  # a Python of a distribution may come without pip
        venv.create(own, with_pip=True)
        pip = [f"{own}/bin/python", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *platforms, *wheels, *locked], check=True)
    remove_commands(folder)


def remove_commands(folder: Path) -> None:
    """Nothing calls them in the cloud, and each has the path of the Python in it that installed it."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for record in folder.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        record.write_text(
            "".join(line for line in lines if not line.startswith("../../bin/")), encoding="utf-8"
        )


def compile_all(folder: Path) -> None:
    """Writes bytecode that is never compared with its source: times say nothing after unpacking.

    One process compiles everything: which strings bytecode shares depends on the files that its process compiled before.
    """
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(folder), "-p", HOME]
    subprocess.run([sys.executable, "-m", "compileall", *options, str(folder)], check=True)


def write_zip(folder: Path, archive: Path) -> None:
    """Packs a folder: sorted, without times, rights or owners."""
    with ZipFile(archive, "w") as zip_file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                entry = ZipInfo(path.relative_to(folder).as_posix(), LONG_AGO)
                entry.external_attr = 0o644 << 16
                zip_file.writestr(entry, path.read_bytes(), ZIP_DEFLATED, compresslevel=6)


def main() -> None:
    """Makes everything anew."""
    if python_version_tuple()[:2] != ("3", "13"):
        raise SystemExit("the package has to be made by Python 3.13: only its bytecode is read in the cloud")
    shutil.rmtree(PACKAGE, ignore_errors=True)
    for path in files_of_the_app():
        (PACKAGE / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, PACKAGE / path)
    install(PACKAGE / LIBRARIES)
    compile_all(PACKAGE)
    write_zip(PACKAGE, ARCHIVE)
    # azd packs the folder itself. Without this file it would leave the bytecode out; the file it does not pack.
    (PACKAGE / ".funcignore").write_text("# everything here belongs to the app\n", encoding="utf-8")
    print(f"{ARCHIVE.relative_to(ROOT)}: {ARCHIVE.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
