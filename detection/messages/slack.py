"""An alert as a Slack message (Block Kit). Pure.

Whatever comes from the logs stands in `plain_text` elements, where Slack reads neither mentions nor
links nor markup. Limits: header 150, a section 3,000, its field 2,000 characters, and, undocumented, about 13,200 in all
(slackapi/bolt-js #2509): the message is kept below 10,000, by leaving out the oldest pairs first.
"""

from pydantic_core import to_json

from detection.messages.facts import cut, evidence, facts, origin, pair_lines
from detection.messages.telling import Telling
from detection.messages.text import title

HEADER = 150
FIELD = 2_000
SECTION = 3_000
NARROWER = (100, 50)  # characters of a field, where every one of them takes twelve bytes
MESSAGE_BYTES = 10_000
ICONS = {"High": "🔴", "Medium": "🟠", "Low": "🟡", "Informational": "🔵"}

Block = dict[str, object]


def slack(told: Telling) -> bytes:
    """The message as JSON bytes; where it would be too long it shows fewer pairs, and then shorter values."""
    pairs = pair_lines(told)
    fewer = [(FIELD, shown) for shown in range(len(pairs), -1, -1)]
    body = b""
    for width, shown in (*fewer, *((width, 0) for width in NARROWER)):
        text = evidence(told, pairs[:shown])
        body = to_json(_message(told, text, width), ensure_ascii=True)
        if len(text) <= SECTION and len(body) <= MESSAGE_BYTES:
            break
    return body


def message(headline: str, blocks: list[Block], source: str) -> Block:
    """A message between its headline and where it comes from."""
    # Shown where blocks are not, in a notification say.
    fallback = cut(headline, HEADER).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {
        "text": fallback,
        "mrkdwn": False,
        "blocks": [
            {"type": "header", "text": plain(headline, HEADER)},
            *blocks,
            {"type": "context", "elements": [plain(source, FIELD)]},
        ],
    }


def plain(text: str, limit: int) -> Block:
    """A text in which Slack reads neither mentions nor links nor markup, cut to a limit."""
    return {"type": "plain_text", "text": cut(text, limit), "emoji": False}


def _message(told: Telling, text: str, width: int) -> Block:
    headline = f"{ICONS[told.alert.severity]} {title(told.alert, told.rule)}"
    fields = [plain(f"{name}: {value}", width) for name, value in facts(told)]
    blocks: list[Block] = [
        {"type": "section", "fields": fields},
        {"type": "section", "text": plain(text, SECTION)},
    ]
    return message(headline, blocks, origin(told))
