"""The pages: their links and anchors resolve, the files they name exist, their lists are those of the code."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ARCHITECTURE = DOCS / "architecture.md"
DECISIONS = DOCS / "decisions"
FOLDERS = ("docs", "detection", "tests", "infra", "benchmarks", "scripts", ".github")
PAGES = sorted([*ROOT.glob("*.md"), *(page for name in FOLDERS for page in (ROOT / name).rglob("*.md"))])

_FENCE = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(?P<text>.+?) *$", re.MULTILINE)
# A file of this repository, as pages write it: from the root, or from detection/ as docs/architecture.md does.
_FILE = re.compile(r"`(?P<path>[\w.-]+/[\w./-]+\.(?:py|md|kql|bicep|bicepparam|json|toml))`")

# A row of the incident table, in the docstring of a module and in docs/architecture.md.
_ROW = re.compile(r"^ *(?P<row>[a-z](?:\|\S+)?) {2,}\S", re.MULTILINE)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose_of(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links_of(page: Path) -> Iterator[str]:
    """The targets of a page's links within the repository."""
    for link in _LINK.finditer(_CODE.sub("", prose_of(page))):
        if not re.match(r"[a-z]+:", link["target"]):
            yield link["target"]


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives to a page's headings: repeated ones are numbered."""
    anchors: list[str] = []
    for heading in _HEADING.finditer(prose_of(page)):
        text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading["text"])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        anchors.append(f"{slug}-{anchors.count(slug)}" if slug in anchors else slug)
    return frozenset(anchors)


def broken_links(page: Path) -> list[str]:
    """The links that lead to no file, or to no heading of it."""
    broken = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


@pytest.mark.parametrize(
    "text, broken",
    [
        ("[here](#a-heading-of-its-own)", []),
        ("[again](#a-heading-of-its-own-1)", []),
        ("[nowhere](#another)", ["#another"]),
        ("[page](other.md#there), ![picture](other.md)", []),
        ("[page](other.md#not-there)", ["other.md#not-there"]),
        ("[gone](gone.md)", ["gone.md"]),
        ("[web](https://example.com/gone.md#no)", []),
        ("`[code](gone.md)`", []),
        ("```\n[code](gone.md)\n# A comment\n```\n[comment](#a-comment)", ["#a-comment"]),
    ],
)
def test_broken_link_is_found(text: str, broken: list[str], tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("## There\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(f"# `A` heading, of its own\n# A heading of its own\n{text}\n", encoding="utf-8")
    assert broken_links(page) == broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_named_by_a_page_exist(page: Path) -> None:
    paths = [file["path"] for file in _FILE.finditer(prose_of(page))]
    folders = {*FOLDERS, *folders_of_the_code()}
    own = [path for path in paths if path.split("/")[0] in folders]
    assert [
        path for path in own if not any((root / path).exists() for root in (ROOT, ROOT / "detection"))
    ] == []


def test_readme_leads_to_every_page() -> None:
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in links_of(ROOT / "README.md")}
    pages = {*DOCS.glob("*.md"), DECISIONS / "README.md"}
    assert sorted(name_of(page) for page in pages - linked) == []


# ------------------------------------------------------------------------------------------------------ architecture


def folders_of_the_code() -> set[str]:
    return {path.name for path in (ROOT / "detection").iterdir() if path.is_dir() and path.name[0] != "_"}


def test_tree_has_a_line_for_every_folder() -> None:
    lines = set(re.findall(r"^ +(\w+)/ ", ARCHITECTURE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert folders_of_the_code() - lines == set()


def test_order_of_the_folders_is_that_of_the_linter() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = [re.findall(r"\w+", layer) for layer in contracts[0]["layers"]]
    modules = {module for layer in layers for module in layer}
    order = re.findall(r"^.* \| .*$", ARCHITECTURE.read_text(encoding="utf-8"), flags=re.MULTILINE)[0]
    blocks = [[module for module in block.split() if module in modules] for block in order.split(" | ")]
    assert [set(block) for block in blocks] == [
        set(layer) - {"__main__"} for layer in layers if layer != ["__main__"]
    ]


def test_page_lists_the_rows_that_the_modules_list() -> None:
    modules = (ROOT / "detection" / "store").glob("*.py")
    docstrings = [ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in modules]
    rows = {row["row"] for text in docstrings for row in _ROW.finditer(text)}
    section = ARCHITECTURE.read_text(encoding="utf-8").partition("## The incident table")[2]
    assert {row["row"] for row in _ROW.finditer(section)} == rows


# --------------------------------------------------------------------------------------------------------- decisions


def test_index_lists_every_decision_under_its_title() -> None:
    pages = sorted(DECISIONS.glob("0*.md"))
    titles = {page.name: _HEADING.findall(page.read_text(encoding="utf-8"))[0] for page in pages}
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    listed = {target: title for title, target in re.findall(r"\[([^\]]+)\]\((0\d{3}-[^)]+)\)", index)}
    assert listed == {name: re.sub(r"^\d+\. ", "", title) for name, title in titles.items()}


@pytest.mark.parametrize("page", sorted(DECISIONS.glob("0*.md")), ids=name_of)
def test_decision_has_its_sections(page: Path) -> None:
    sections = _HEADING.findall(page.read_text(encoding="utf-8"))[1:]
    assert sections == ["Status", "Context", "Decision", "Consequences", "What was measured"]


def test_tests_that_the_page_of_the_table_names_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "table.md").read_text(encoding="utf-8")))
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    assert len(named) > 5
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []
