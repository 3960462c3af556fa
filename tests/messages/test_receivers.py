"""The messages, validated by tools of their receivers: Slack's models and the parser of Adaptive Cards.

For PagerDuty no package carries a schema of an event: tests/messages/test_formats.py measures its documented
limits.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block

from detection.messages.digest import as_slack, as_teams
from detection.messages.slack import slack
from detection.messages.teams import teams
from tests.messages.test_formats import HOSTILE
from tests.support.builders import HOUR, START
from tests.support.contexts import golden_context, golden_digest, incident_opened_at, made_up_context
from tests.support.node import ask

SCRIPT = Path(__file__).parents[1] / "support" / "cards" / "validate.js"
Json = dict[str, Any]

CONTEXTS = {
    "opened": golden_context(),
    "updated": made_up_context(30, incident=incident_opened_at(START - HOUR)),
    **{
        f"hostile: {name}": made_up_context(30, value, ip=value, model=value)
        for name, value in HOSTILE.items()
    },
}
SLACK = {name: json.loads(slack(context)) for name, context in CONTEXTS.items()} | {
    "digest": json.loads(as_slack(golden_digest()))
}
TEAMS = {name: json.loads(teams(context)) for name, context in CONTEXTS.items()} | {
    "digest": json.loads(as_teams(golden_digest()))
}


@pytest.mark.parametrize("message", SLACK.values(), ids=SLACK)
def test_slack_message_is_what_slacks_own_models_take(message: Json) -> None:
    assert [block.to_dict() for block in blocks(message)] == message["blocks"]


def test_block_that_slack_refuses_is_found() -> None:
    message = deepcopy(SLACK["opened"])
    message["blocks"][0]["text"]["text"] = "x" * 151
    with pytest.raises(SlackObjectFormationError, match="cannot exceed 150 characters"):
        blocks(message)


def test_teams_message_is_what_the_parser_of_adaptive_cards_takes() -> None:
    assert {name: problems for name, problems in complaints(TEAMS).items() if problems} == {}


def test_card_that_the_parser_refuses_is_found() -> None:
    message = deepcopy(TEAMS["opened"])
    card = message["attachments"][0]["content"]
    card["body"][0]["inlines"][0]["size"] = "gigantic"
    card["body"].append({"type": "TextBlok", "text": "x"})
    del card["actions"][0]["url"]
    problems = complaints({"broken": message})["broken"]
    assert [
        problem
        for problem in problems
        if '"gigantic"' in problem or '"TextBlok"' in problem or '"url"' in problem
    ] == problems
    assert len(problems) == 3


def blocks(message: Json) -> list[Block]:
    """The blocks as Slack's models have them, validated."""
    parsed_blocks: list[Block] = list(Block.parse_all(message["blocks"]))
    for block in parsed_blocks:
        block.validate_json()
    return parsed_blocks


def complaints(messages: Mapping[str, Json]) -> Mapping[str, list[str]]:
    """The errors of the parser for the card of each message."""
    cards = {name: message["attachments"][0]["content"] for name, message in messages.items()}
    problems: dict[str, list[str]] = ask(SCRIPT, cards)
    return problems
