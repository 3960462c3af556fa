"""The steps of an alert in order and in few lines: changes, the signals up to the next change, and so on."""

from datetime import timedelta

from detection.messages.steps import STEPS_SHOWN, step_lines, steps
from tests.support.builders import DAY, HOUR, RULE, START, chains, change, signal

MINUTE = timedelta(minutes=1)


def lines(changes: int, signals_per_change: int = 2) -> list[str]:
    """The lines for changes that are an hour apart, each with some signals before the next change."""
    actor_chains = chains(
        [change(f"c{n}", START + n * HOUR) for n in range(changes)],
        [
            signal(f"s{n}.{m}", START + n * HOUR + (m + 1) * MINUTE)
            for n in range(changes)
            for m in range(signals_per_change)
        ],
    )
    return step_lines(steps(actor_chains, RULE), RULE)


def test_signals_between_two_changes_are_one_step() -> None:
    assert lines(2) == [
        "2026-03-02T10:00:00Z  created an API key (203.0.113.7)",
        "2026-03-02T10:01:00Z to 2026-03-02T10:02:00Z  hit the content filter twice (gpt-4o-2024-08-06)",
        "2026-03-02T11:00:00Z  created an API key (203.0.113.7)",
        "2026-03-02T11:01:00Z to 2026-03-02T11:02:00Z  hit the content filter twice (gpt-4o-2024-08-06)",
    ]


def test_changes_that_follow_each_other_are_one_step() -> None:
    actor_chains = chains(
        [change("a", START), change("b", START + MINUTE, kind="role.updated", ip="198.51.100.1")],
        [signal("s", START + DAY)],
    )
    assert step_lines(steps(actor_chains, RULE), RULE) == [
        "2026-03-02T10:00:00Z to 2026-03-02T10:01:00Z  created an API key and changed a role (203.0.113.7, 198.51.100.1)",
        "2026-03-03T10:00:00Z  hit the content filter (gpt-4o-2024-08-06)",
    ]


def test_change_comes_before_a_signal_of_the_same_moment() -> None:
    actor_chains = chains([change("c", START)], [signal("s", START)])
    assert [step.side for step in steps(actor_chains, RULE)] == ["changes", "signals"]


def test_step_over_midnight_names_both_days() -> None:
    late = START.replace(hour=23, minute=59)
    actor_chains = chains([change("c", late)], [signal("a", late), signal("b", late + 2 * MINUTE)])
    assert step_lines(steps(actor_chains, RULE), RULE)[1].startswith(
        "2026-03-02T23:59:00Z to 2026-03-03T00:01:00Z  "
    )


def test_of_many_steps_the_first_and_the_last_are_shown() -> None:
    step_count, shown = 2 * 12, lines(12)
    assert len(shown) == STEPS_SHOWN + 1
    assert shown[:2] == lines(1)
    assert shown[2] == f"… {step_count - STEPS_SHOWN} steps between …"
    assert shown[-1].startswith("2026-03-02T21:01:00Z")


def test_more_models_than_are_named_are_said_to_be_more() -> None:
    actor_chains = chains([change("c", START)], [signal(f"s{n}", START, model=f"m{n}") for n in range(5)])
    assert step_lines(steps(actor_chains, RULE), RULE)[1].endswith("(m0, m1, m2 and more)")


def test_event_in_two_chains_is_one() -> None:
    [chain] = chains([change("c", START)], [signal("s", START)])
    assert [step.kinds for step in steps([chain, chain], RULE)] == [
        {"api_key.created": 1},
        {"content_filter": 1},
    ]
