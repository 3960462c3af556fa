"""Rule folders of a test's own, which it may edit."""

import shutil
from pathlib import Path

import pytest

import detection.app
from detection.rules.loading import CONTENT, load_rule


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the rule folders, from which the job loads its rules."""
    shutil.copytree(CONTENT, tmp_path / "content")
    root = tmp_path / "content" / "rules"
    monkeypatch.setattr(detection.app, "load_rule", lambda name: load_rule(name, root))
    return root
