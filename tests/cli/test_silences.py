"""The commands of silences and of incident statistics, on Azurite."""

from dataclasses import replace

import pytest

from detection.base.errors import ConfigurationError
from detection.cli import incidents, silences
from tests.cli.test_run import FIRST_ALERT, Commands, commands
from tests.support.builders import DAY
from tests.test_whole_line import HOUR, Pipeline, golden_api, pipeline

__all__ = ["commands", "golden_api", "pipeline"]  # fixtures
SIXTH_HOUR = FIRST_ALERT + 5 * HOUR


@pytest.fixture(autouse=True)
def _at_the_same_moment(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "clock", lambda: commands.now, raising=False)
    monkeypatch.setattr(silences, "clock", lambda: commands.now, raising=False)


def test_silence_of_an_actor_suppresses_the_actors_pairs(commands: Commands, pipeline: Pipeline) -> None:
    arguments = ("--reason", "on leave", "--actor", "carol@*", "--from", "2026-06-09T12:00:00Z")
    added = commands("silences", "add", "carol", "--for", "PT10H", *arguments, "--direct")
    assert "carol silences signals from 2026-06-09 12:00 until 2026-06-09 22:00 UTC" in added.stdout

    [record] = commands.lines("run", "--at", "2026-06-09T14:00:00Z")

    assert (record["silenced"], record["new_pairs"], pipeline.receiver.bodies) == ({"carol": 1}, 0, [])
    [row] = commands.lines("silences", "list")
    assert (row["name"], row["state"], row["criteria"]) == ("carol", "in force", "actor carol@*")


def test_silenced_incident_has_author_and_reason_in_its_history(commands: Commands) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    name = str(commands.lines("incidents", "list")[0]["id"])

    result = commands(
        "incidents", "silence", name, "--for", "P1D", "--by", "dave", "--reason", "load test", "--direct"
    )

    assert result.stdout.startswith(
        f"{name} is silenced from 2026-06-09 14:00 until 2026-06-10 14:00 UTC: load test (its criteria match 1 of 1"
    )
    assert "silenced 2026-06-09T14:00:00" in commands("incidents", "show", name).stdout
    assert (
        "by dave: from 2026-06-09 14:00 until 2026-06-10 14:00 UTC: load test (its criteria match 1 of 1 alert"
        in commands("incidents", "show", name).stdout
    )
    [row] = commands.lines("silences", "list")
    assert (row["criteria"], row["owner"], row["reason"]) == ("actor carol@example.com", "dave", "load test")


def test_silence_without_a_start_leaves_earlier_signals_alone(commands: Commands) -> None:
    commands("silences", "add", "carol", "--for", "PT8H", "--reason", "x", "--actor", "carol@*", "--direct")

    [record] = commands.lines("run", "--at", "2026-06-09T14:00:00Z")

    assert (record["silenced"], record["new_pairs"]) == ({}, 1)


@pytest.mark.parametrize(
    "criteria, matching",
    [
        (("--actor", "carol@*"), 1),
        (("--actor", "dave@*"), 0),
        (("--actor", "carol@*", "--change", "invite.*", "--signal", "content_filter"), 1),
        (("--actor", "carol@*", "--signal", "length"), 0),
        (("--model", "gpt-*"), 1),
        (("--model", "o3"), 0),
        (("--address", "203.0.113.0/24"), 1),
        (("--address", "10.0.0.0/8"), 0),
    ],
)
def test_new_silence_says_how_many_alerts_of_the_last_week_it_matches(
    commands: Commands, criteria: tuple[str, ...], matching: int
) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    commands.now += 7 * DAY
    text = f"its criteria match {matching} of 1 alert of the last 7 days"
    assert (
        text
        in commands("silences", "add", "a", "--for", "PT1H", "--reason", "x", *criteria, "--direct").stdout
    )


def test_new_silence_leaves_older_alerts_out(commands: Commands) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    commands.now += 7 * DAY + HOUR
    result = commands(
        "silences", "add", "a", "--for", "PT1H", "--reason", "x", "--actor", "carol@*", "--direct"
    )
    assert "its criteria match 0 of 0 alerts" in result.stdout


def test_lifted_silence_suppresses_no_later_signal(commands: Commands, pipeline: Pipeline) -> None:
    commands.now = FIRST_ALERT - 4 * HOUR
    commands("silences", "add", "all", "--for", "PT8H", "--reason", "x", "--actor", "carol@*", "--direct")
    commands.now = FIRST_ALERT - 3 * HOUR
    commands("silences", "lift", "all", "--by", "dave", "--direct")
    commands.now = FIRST_ALERT
    commands("run", "--at", "2026-06-09T14:00:00Z")

    assert len(pipeline.receiver.bodies) == 1
    assert commands.lines("silences", "list")[0]["state"] == "lifted by dave"


REFUSED = {
    "everything": (("silences", "add", "a", "--for", "PT1H", "--reason", "x"), "needs at least one of"),
    "any actor": (
        ("silences", "add", "a", "--for", "PT1H", "--reason", "x", "--actor", "*"),
        "matches every pair: give a pattern with a letter or digit, or a network of at least /8 (IPv6: /16)",
    ),
    "a name with spaces": (
        ("silences", "add", "a b", "--for", "PT1H", "--reason", "x", "--actor", "y"),
        "name: ",
    ),
    "an unknown rule": (
        ("silences", "add", "a", "--for", "PT1H", "--reason", "x", "--actor", "y", "--rule", "other"),
        "other is not among the rules that run",
    ),
    "more than a month": (
        ("silences", "add", "a", "--for", "P31D", "--reason", "x", "--actor", "y"),
        "a silence lasts at most 30 days; shorten it, or write an exclusion into exclusions.yaml",
    ),
    "longer than any calendar": (
        ("silences", "add", "a", "--for", "P999999999D", "--reason", "x", "--actor", "y"),
        "a silence lasts at most 30 days",
    ),
    "lifting an unknown silence": (
        ("silences", "lift", "a"),
        "no silence a is in force or scheduled; see `silences list`",
    ),
}


@pytest.mark.parametrize("arguments, sentence", REFUSED.values(), ids=REFUSED)
def test_invalid_silence_is_refused_with_a_sentence(
    commands: Commands, arguments: tuple[str, ...], sentence: str
) -> None:
    result = commands(*arguments, "--direct")
    assert isinstance(result.exception, ConfigurationError)
    assert sentence in str(result.exception)


def test_runs_names_the_silences_in_force(commands: Commands) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    commands("silences", "add", "carol", "--for", "PT8H", "--reason", "x", "--actor", "carol@*", "--direct")
    remark = (
        "silence carol of openai-config-to-abuse, from 2026-06-09 14:00 until 2026-06-09 22:00 UTC: "
        "actor carol@*\n"
    )
    assert remark in commands("runs").stderr
    commands.now += 8 * HOUR
    assert remark not in commands("runs").stderr


def test_second_silence_of_a_name_is_refused(commands: Commands) -> None:
    added, result = (
        commands("silences", "add", "a", "--for", "PT1H", "--reason", reason, "--actor", "y", "--direct")
        for reason in ("x", "z")
    )
    assert added.exit_code == 0
    assert "there is a silence a already" in str(result.exception)


def test_observing_rule_keeps_incidents_and_sends_no_message(pipeline: Pipeline) -> None:
    rule = pipeline.job.rules[0]
    observing = rule.model_copy(update={"on_call": rule.on_call.model_copy(update={"mode": "observe"})})
    job = replace(pipeline.job_at(FIRST_ALERT), rules=[observing])

    [record] = job.detect(FIRST_ALERT)

    assert (record.mode, record.alerts, len(job.desk.incidents())) == ("observe", 1, 1)
    assert (pipeline.receiver.bodies, job.deliver()) == ([], [])


def test_stats_count_incidents_by_classification(commands: Commands, pipeline: Pipeline) -> None:
    pipeline.runs([FIRST_ALERT, FIRST_ALERT + HOUR, SIXTH_HOUR])
    commands.now = SIXTH_HOUR
    first_id, second_id, *other_ids = (
        str(row["id"]) for row in commands.lines("incidents", "list") if row["status"] == "new"
    )
    commands("incidents", "close", first_id, "--as", "true-positive", "--direct")
    commands("incidents", "close", second_id, "--as", "false-positive", "--direct")

    [row] = commands.lines("incidents", "stats")

    assert (row["true_positive"], row["false_positive"], row["open"], row["precision"]) == (
        1,
        1,
        len(other_ids),
        0.5,
    )
    assert row["incidents"] == len(other_ids) + 2


def test_closed_incident_is_reopened_before_it_is_acknowledged(commands: Commands) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    name = str(commands.lines("incidents", "list")[0]["id"])
    commands("incidents", "close", name, "--as", "benign", "--by", "ann", "--direct")

    assert "is closed: reopen it" in str(
        commands("incidents", "ack", name, "--by", "bob", "--direct").exception
    )
    assert commands("incidents", "reopen", name, "--by", "bob", "--direct").stdout == (
        f"{name} is reopened, before: benign\n"
    )
    closed = commands("incidents", "close", name, "--as", "true-positive", "--by", "bob", "--direct")

    assert closed.stdout == f"{name} is closed as true-positive\n"
    shown = commands("incidents", "show", name).stdout
    assert "reopened, before: benign 2026-06-09T14:00:00Z by bob" in shown


def test_note_that_is_too_long_is_refused_before_anything_is_read(commands: Commands) -> None:
    result = commands("incidents", "ack", "in_nothing", "--note", "x" * 2_001, "--direct")
    assert "Shorten the note to at most 2,000 characters" in str(result.exception)
