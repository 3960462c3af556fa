"""What an alert says about the pairs of several actors."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from detection.correlation.correlate import correlate
from detection.incidents.alert import AlertWindows
from detection.incidents.decide import Circumstances, decide
from detection.incidents.key_state import KeyState
from detection.logs.actors import resolver_for
from detection.logs.events import Event
from detection.logs.window import Window
from tests.support.builders import (
    ALICE,
    DAY,
    HOUR,
    RULE,
    START,
    account,
    chains,
    change,
    first_windows,
    signal,
)
from tests.support.matching_rules import rule_with_options

BOB = "bob@example.com"


def digest(actor: str) -> str:
    return sha256(actor.encode()).hexdigest()


def with_digest(change: Event) -> Event:
    """The change as the query of the rule returns it, with the digest of its actor as the last column."""
    return change._replace(row=(*change.row, digest(change.actor)))


def test_alert_of_several_actors_counts_the_signals_of_each_by_their_matching_option(tmp_path: Path) -> None:
    rule = rule_with_options(tmp_path, "[exact, {hash: sha256}]")
    changes = [with_digest(change("c1", START, ALICE)), with_digest(change("c2", START, BOB))]
    signals = [
        signal("s1", START, digest(ALICE)),
        signal("s2", START, ALICE),
        signal("s3", START, BOB),
    ]
    chains = correlate(changes, signals, rule.sequence.within, once=True, resolve=resolver_for(rule))

    verdict = decide(chains, Circumstances(rule, first_windows(START + HOUR)), KeyState(()))

    assert verdict
    assert verdict.alert
    assert list(verdict.alert.matched_by.items()) == [("exact", 2), ("sha256:hex", 1)]


@pytest.mark.parametrize("gap", [None, Window(START - 9 * DAY, START - 8 * DAY)], ids=["no gap", "a gap"])
def test_alert_has_the_windows_and_the_gap_of_its_run(gap: Window | None) -> None:
    windows = replace(first_windows(START + HOUR), gap=gap)
    pairs = chains([change("c", START)], [signal("s", START)])

    verdict = decide(pairs, Circumstances(RULE, windows), KeyState(account()))

    assert verdict
    assert verdict.alert
    assert verdict.alert.windows == AlertWindows(windows.changes, windows.signals, gap)
