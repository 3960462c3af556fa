"""How the published rule would do in the same world: it pairs by stamp in the past day, and remembers nothing."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from tests.support.builders import DAY, HOUR, RULE
from tests.support.world.scenario import PairIds, World

WITHIN = RULE.sequence.within


def expected(world: World) -> set[PairIds]:
    """The pairs of all that happened, by own time, except signals from before the first run's window."""
    window_start = world.plans[0].now - HOUR - world.configuration.lateness
    changes = {
        (arrival.id, arrival.actor, arrival.time) for arrival in world.rows if arrival.side == "changes"
    }
    signals = {
        (arrival.id, arrival.actor, arrival.time) for arrival in world.rows if arrival.side == "signals"
    }
    return {
        (change, signal)
        for change, actor, change_time in changes
        for signal, signal_actor, signal_time in signals
        if actor == signal_actor
        and change_time <= signal_time <= change_time + WITHIN
        and signal_time > window_start
    }


def published(world: World, complete: Sequence[datetime]) -> Counter[PairIds]:
    """How often the published rule would have told each pair of `expected`: at every complete run it returns
    what has arrived, with both sides by stamp in the past day, and it remembers nothing.
    """
    wanted = expected(world)
    moments = sorted(complete)
    runs: dict[PairIds, set[int]] = {}
    changes = [arrival for arrival in world.rows if arrival.side == "changes"]
    signals = [arrival for arrival in world.rows if arrival.side == "signals"]
    for change in changes:
        for signal in signals:
            pair = (change.id, signal.id)
            if pair in wanted and change.stamped <= signal.stamped <= change.stamped + WITHIN:
                first_run = bisect_left(moments, max(change.arrived, signal.arrived))
                end_run = bisect_left(moments, change.stamped + DAY)
                runs.setdefault(pair, set()).update(range(first_run, end_run))
    return Counter({pair: len(run_numbers) for pair, run_numbers in runs.items()})
