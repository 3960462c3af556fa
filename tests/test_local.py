"""`make local`: the whole job on real parts on this machine ends with a check of all of them."""

import pytest

from tests import local


@pytest.mark.slow
def test_local_run_prints_its_messages_and_a_check_without_red(capsys: pytest.CaptureFixture[str]) -> None:
    local.main()
    out = capsys.readouterr().out
    assert "10 messages arrived, 9 incidents are in the table" in out
    assert "canary to webhook" in out
    assert "\nred " not in out
