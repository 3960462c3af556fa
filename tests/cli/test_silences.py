"""The commands of silences and of incident statistics, on Azurite."""

from dataclasses import replace

import pytest

from detection.base.errors import ConfigurationError
from detection.cli import incidents, silences
from tests.cli.test_run import FIRST_ALERT, Commands, commands
from tests.test_whole_line import HOUR, Pipeline, golden_api, pipeline

__all__ = ["commands", "golden_api", "pipeline"]  # fixtures
SIXTH_HOUR = FIRST_ALERT + 5 * HOUR


@pytest.fixture(autouse=True)
def _at_the_same_moment(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents, "clock", lambda: commands.now, raising=False)
    monkeypatch.setattr(silences, "clock", lambda: commands.now, raising=False)


def test_silence_of_an_actor_suppresses_the_actors_pairs(commands: Commands, pipeline: Pipeline) -> None:
    added = commands(
        "silences", "add", "carol", "--for", "PT8H", "--reason", "on leave", "--actor", "carol@*"
    )
    assert "carol is in force until 2026-06-09 22:00 UTC" in added.stdout

    [record] = commands.lines("run", "--at", "2026-06-09T14:00:00Z")

    assert (record["silenced"], record["new_pairs"], pipeline.receiver.bodies) == ({"carol": 1}, 0, [])
    [row] = commands.lines("silences", "list")
    assert (row["name"], row["state"], row["criteria"]) == ("carol", "in force", "actor carol@*")


def test_silenced_incident_has_author_and_reason_in_its_history(commands: Commands) -> None:
    commands("run", "--at", "2026-06-09T14:00:00Z")
    name = str(commands.lines("incidents", "list")[0]["id"])

    result = commands("incidents", "silence", name, "--for", "P1D", "--by", "dave", "--reason", "load test")

    assert "is in force until 2026-06-10 14:00 UTC" in result.stdout
    assert "silenced 2026-06-09T14:00:00" in commands("incidents", "show", name).stdout
    assert "by dave: until 2026-06-10T14:00:00" in commands("incidents", "show", name).stdout
    [row] = commands.lines("silences", "list")
    assert (row["criteria"], row["owner"], row["reason"]) == ("actor carol@example.com", "dave", "load test")


def test_lifted_silence_suppresses_nothing(commands: Commands, pipeline: Pipeline) -> None:
    commands("silences", "add", "all", "--for", "PT8H", "--reason", "x", "--actor", "*")
    commands("silences", "lift", "all", "--by", "dave")
    commands("run", "--at", "2026-06-09T14:00:00Z")

    assert len(pipeline.receiver.bodies) == 1
    assert commands.lines("silences", "list")[0]["state"] == "lifted by dave"


REFUSED = {
    "everything": (("silences", "add", "a", "--for", "PT1H", "--reason", "x"), "needs at least one of"),
    "a name with spaces": (
        ("silences", "add", "a b", "--for", "PT1H", "--reason", "x", "--actor", "y"),
        "name: ",
    ),
    "an unknown rule": (
        ("silences", "add", "a", "--for", "PT1H", "--reason", "x", "--actor", "y", "--rule", "other"),
        "other is not among the rules that run",
    ),
    "lifting an unknown silence": (
        ("silences", "lift", "a"),
        "no silence a is in force; see `silences list`",
    ),
}


@pytest.mark.parametrize("arguments, sentence", REFUSED.values(), ids=REFUSED)
def test_invalid_silence_is_refused_with_a_sentence(
    commands: Commands, arguments: tuple[str, ...], sentence: str
) -> None:
    result = commands(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert sentence in str(result.exception)


def test_second_silence_of_a_name_is_refused(commands: Commands) -> None:
    added, result = (
        commands("silences", "add", "a", "--for", "PT1H", "--reason", "x", "--actor", "y") for _ in range(2)
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
    commands("incidents", "close", first_id, "--as", "true-positive")
    commands("incidents", "close", second_id, "--as", "false-positive")

    [row] = commands.lines("incidents", "stats")

    assert (row["true_positive"], row["false_positive"], row["open"], row["precision"]) == (
        1,
        1,
        len(other_ids),
        0.5,
    )
    assert row["incidents"] == len(other_ids) + 2
