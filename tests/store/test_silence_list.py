"""The silences of a rule: added once, and lifted before their end."""

import pytest

from detection.rules.silences import Silence, parse_silence
from detection.store.silence_list import SilenceList
from detection.store.table import Conflict, MemoryTable
from tests.support.builders import DAY, HOUR, START


@pytest.fixture
def silence_list() -> SilenceList:
    return SilenceList(MemoryTable(), "some-rule")


def silence(name: str = "quiet", actor: str = "ann") -> Silence:
    """A silence of a day from START on."""
    return parse_silence(
        {
            "name": name,
            "owner": "carol",
            "reason": "a deployment",
            "actor": actor,
            "begins": START,
            "expires": START + DAY,
        }
    )


def test_added_silences_are_in_the_list(silence_list: SilenceList) -> None:
    silence_list.add(silence())
    silence_list.add(silence("other"))
    assert silence_list.silences() == [silence("other"), silence()]


def test_name_of_a_silence_is_used_once(silence_list: SilenceList) -> None:
    silence_list.add(silence())
    with pytest.raises(Conflict):
        silence_list.add(silence(actor="bob"))
    assert silence_list.silences() == [silence()]


def test_lifted_silence_stays_and_ends_when_its_author_lifts_it(silence_list: SilenceList) -> None:
    silence_list.add(silence())
    silence_list.lift(silence(), "dave", START + HOUR)
    assert silence_list.silences() == [
        silence().model_copy(update={"expires": START + HOUR, "lifted_by": "dave"})
    ]
