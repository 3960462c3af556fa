"""The default rule with other bridges, for tests: a copy of its folder in which `identity` says something else."""

import shutil
from pathlib import Path

from detection.rules.loading import RULES, default_rule, load_rule
from detection.rules.model import Rule

DATA = Path(__file__).parents[1] / "data" / "bridges"
_EXACT = "  identity: [exact] "

# What tests/data/bridges has cases for, by the name of the file.
IDENTITIES = {
    "sha256": "[exact, {hash: sha256}]",
    "digests": "[{hash: sha256, as: base64}, {hash: sha1, as: base64}, {hash: md5, as: base64}, {hash: sha1}, {hash: md5, as: hex}]",
    "metadata": "[exact, {metadata: employee}]",
    "local-part": "[exact, local-part]",
    "mapping": "[{mapping: users.csv}, local-part]",
    "none": "[none]",
}
ALL_OPTIONS = (
    "[exact, {hash: sha256}, {hash: sha256, as: base64}, {metadata: employee}, {metadata: 'the user''s id'}, "
    "local-part, {hash: md5}]"
)


def rule_folder(parent: Path, identity: str) -> Path:
    """A copy of the default rule's folder, without its tests, with these bridges."""
    folder = parent / default_rule()
    shutil.copytree(RULES / default_rule(), folder, ignore=shutil.ignore_patterns("tests"))
    path = folder / "rule.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count(_EXACT) == 1
    path.write_text(text.replace(_EXACT, f"  identity: {identity} "), encoding="utf-8")
    shutil.copy(DATA / "users.csv", folder)
    return folder


def rule_with_options(parent: Path, identity: str) -> Rule:
    """The default rule with these bridges, loaded."""
    folder = rule_folder(parent, identity)
    return load_rule(folder.name, folder.parent)
