import tracemalloc

from detection.correlation.correlate import Chain
from detection.incidents.marks import change_marks, signal_marks
from tests.support.builders import START, change, signal


def chain(actor: str, *ids: str) -> Chain:
    return Chain(
        actor,
        [change(ident, START) for ident in ids],
        [signal(ident, START) for ident in ids],
        [range(len(ids))] * len(ids),
        once=True,
    )


def test_marks_differ_where_names_and_ids_meet_elsewhere() -> None:
    marks = {
        mark for names in (("a", "bc"), ("ab", "c"), ("abc", "")) for mark in signal_marks(chain(*names))
    }
    assert len(marks) == 3


def test_mark_of_a_change_is_none_of_a_signal() -> None:
    events = chain("alice@example.com", "e")
    assert not {*change_marks(events)} & {*signal_marks(events)}


def test_a_long_name_is_not_repeated_in_memory_for_each_mark() -> None:
    """The name of an actor may be as long as a field of the logs."""
    events = chain("x" * 32_000, *(f"{number}" for number in range(1_000)))
    tracemalloc.start()
    try:
        assert len(signal_marks(events)) == 1_000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # bytes
    finally:
        tracemalloc.stop()
