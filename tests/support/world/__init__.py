"""A model world for the promise of the product: every pair is alerted exactly once, whatever goes wrong.

Changes and signals happen, and their rows arrive in a log store up to the allowed lateness later. The real run,
with the real incident store on the real table in memory, is executed about once an hour, and things go wrong:
runs are skipped for an hour or for days, get half an answer, die between two writes, race each other, do not
hear that a write succeeded, wake up on a clock that is wrong. Meanwhile people edit the rule and the settings,
and add and lift silences.

    scenario.py       what happens: rows, runs, edits
    history.py        what came of it
    doubles.py        the log store, and the table that fails as planned
    execution.py      executes the runs, and notes what the table took
    identity.py       whose a signal is, by the model's own reading of the options
    views.py          which pairs a reading of the logs saw, by the model's own reading of the rule
    promise.py        which pairs must be alerted, and which may be
    checks.py         compares the promise with what the table took
    published.py      how the published rule does in the same world
    random_worlds.py  the world of a seed
"""

from tests.support.world.doubles import Crash, FaultyTable, LogStore, row_of
from tests.support.world.execution import live
from tests.support.world.history import History
from tests.support.world.published import expected, published
from tests.support.world.random_worlds import random_world
from tests.support.world.scenario import (
    Arrival,
    Configuration,
    Edit,
    Faults,
    Mute,
    PairIds,
    Plan,
    SideName,
    Silencing,
    World,
)

__all__ = [
    "Arrival",
    "Configuration",
    "Crash",
    "Edit",
    "Faults",
    "FaultyTable",
    "History",
    "LogStore",
    "Mute",
    "PairIds",
    "Plan",
    "SideName",
    "Silencing",
    "World",
    "expected",
    "live",
    "published",
    "random_world",
    "row_of",
]
