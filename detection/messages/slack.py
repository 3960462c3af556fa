"""An alert as a Slack message (Block Kit). Pure.

Whatever comes from the logs stands in `plain_text` elements, where Slack reads neither mentions nor
links nor markup. Limits: header 150, a section 3,000, its field 2,000 characters, and, undocumented, about 13,200 in all
(slackapi/bolt-js #2509): the message is kept below 10,000, by leaving out the oldest pairs first.
"""

from pydantic_core import to_json

from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.fitting import fewer
from detection.messages.telling import Telling

HEADER = 150
FIELD = 2_000
SECTION = 3_000
NARROWER = (100, 50)  # characters of a field, where every one of them takes twelve bytes
MESSAGE_BYTES = 10_000
PAIRS = "Pairs, the newest first\n"
ICONS = {"High": "🔴", "Medium": "🟠", "Low": "🟡", "Informational": "🔵"}

Block = dict[str, object]


def slack(told: Telling) -> bytes:
    """The message as JSON bytes; where it would be too long it shows fewer pairs, and then shorter values."""
    pairs = pair_lines(told)
    ways = [(FIELD, shown) for shown in fewer(len(pairs))]
    body = b""
    for width, shown in (*ways, *((width, 0) for width in NARROWER)):
        text = evidence(told, pairs[:shown])
        body = to_json(_message(told, text, width), ensure_ascii=True)
        if len(text) <= SECTION - len(PAIRS) and len(body) <= MESSAGE_BYTES:
            break
    return body


def message(first: str, blocks: list[Block], source: str) -> Block:
    """A message between its first line and where it comes from."""
    return {
        # Shown where blocks are not, in a notification say.
        "text": _escaped(cut(first, HEADER)),
        "mrkdwn": False,
        "blocks": [
            {"type": "header", "text": plain(first, HEADER)},
            *blocks,
            {"type": "context", "elements": [plain(source, FIELD)]},
        ],
    }


def plain(text: str, limit: int) -> Block:
    """A text in which Slack reads neither mentions nor links nor markup, cut to a limit."""
    return {"type": "plain_text", "text": cut(text, limit), "emoji": False}


def _message(told: Telling, text: str, width: int) -> Block:
    first = f"{ICONS[told.alert.severity]} {headline(told)}"
    fields = [plain(f"{name}: {value}", width) for name, value in facts(told)]
    happened = "\n".join(["What happened (UTC)", *(cut(line, width) for line in sequence(told))])
    steps = "\n".join(["First steps", *runbook(told)])
    texts = (happened, PAIRS + text, steps)
    blocks: list[Block] = [
        {"type": "section", "fields": fields},
        *(_section(plain(text, SECTION)) for text in texts),
        *(_section(_link(name, url)) for name, url in told.links.named().items()),
    ]
    return message(first, blocks, origin(told))


def _section(text: Block) -> Block:
    return {"type": "section", "text": text}


def _link(name: str, url: str) -> Block:
    """A link of ours: nothing in it is as the logs have it."""
    return {"type": "mrkdwn", "text": f"<{_escaped(url)}|{name}>", "verbatim": True}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
