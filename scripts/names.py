"""Find names that are pronouns or fillers: `one`, `found`, `told`. A name must be a noun of the domain.

`python scripts/names.py PATH...` prints each place and exits with 1 if there is any.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

POINTING = frozenset(
    [
        "one",
        "other",
        "others",
        "some",
        "told",
        "tells",
        "telling",
        "untold",
        "found",
        "known",
        "given",
        "asked",
        "left",
        "what",
        "kept",
        "said",
        "seen",
        "more",
        "most",
        "least",
        "first",
        "there",
        "theirs",
        "ours",
        "who",
        "where",
        "whoever",
        "whatever",
        "somebody",
        "nobody",
        "anybody",
        "it",
        "each",
        "item",
        "thing",
        "things",
        "this",
        "that",
        "these",
        "those",
        "them",
        "they",
    ]
)

HOOKS = "pytest_"  # pytest defines the argument names of its hooks


def bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield every name that a module binds, with its line."""
    hooks = {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith(HOOKS)
        for argument in node.args.args
    }
    for node in ast.walk(tree):
        if node in hooks:
            continue
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.Attribute(attr=name, ctx=ast.Store())
            ):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
            ):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def main() -> int:
    """Print the places. Returns the exit code."""
    roots = [Path(argument) for argument in sys.argv[1:]]
    paths = [path for root in roots for path in (sorted(root.rglob("*.py")) if root.is_dir() else [root])]
    if not paths:
        print("names.py: no Python file found in the arguments; pass files or folders", file=sys.stderr)
        return 2
    findings = [
        f"{path}:{line}: the name {name!r} is a pronoun or filler; use a noun of the domain"
        for path in paths
        for line, name in sorted(bound_names(ast.parse(path.read_text(encoding="utf-8"))))
        if name.strip("_").lower() in POINTING
    ]
    print("\n".join(findings) or f"names: {len(paths)} files checked, no pronouns or fillers")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
