"""An alert as a Slack message (Block Kit).

Whatever comes from the logs stands in `plain_text` elements, where Slack reads neither mentions nor
links nor markup. Limits: header 150, a section 3,000, its field 2,000 characters, and, undocumented, about 13,200 in all
(slackapi/bolt-js #2509): the message is kept below 10,000, by leaving out the oldest pairs first.
"""

from pydantic_core import to_json

from detection.messages.context import AlertContext
from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.text import decreasing_counts

HEADER = 150
FIELD = 2_000
SECTION = 3_000
NARROW_WIDTHS = (100, 50)  # characters of a field, where every one of them takes twelve bytes
MESSAGE_BYTES = 10_000
PAIRS = "Pairs, the newest first\n"
ICONS = {"High": "🔴", "Medium": "🟠", "Low": "🟡", "Informational": "🔵"}

Block = dict[str, object]


def slack(context: AlertContext) -> bytes:
    """The message as JSON bytes; where it would be too long it shows fewer pairs, and then shorter values."""
    pairs = pair_lines(context)
    variants = [(FIELD, pair_count) for pair_count in decreasing_counts(len(pairs))]
    body = b""
    for width, pair_count in (*variants, *((width, 0) for width in NARROW_WIDTHS)):
        text = evidence(context, pairs[:pair_count])
        body = to_json(_message(context, text, width), ensure_ascii=True)
        if len(text) <= SECTION - len(PAIRS) and len(body) <= MESSAGE_BYTES:
            break
    return body


def message(title: str, blocks: list[Block], source: str) -> Block:
    """A message between its first line and where it comes from."""
    return {
        # Shown where blocks are not, in a notification say.
        "text": _escaped(cut(title, HEADER)),
        "mrkdwn": False,
        "blocks": [
            {"type": "header", "text": plain(title, HEADER)},
            *blocks,
            {"type": "context", "elements": [plain(source, FIELD)]},
        ],
    }


def plain(text: str, limit: int) -> Block:
    """A text in which Slack reads neither mentions nor links nor markup, cut to a limit."""
    return {"type": "plain_text", "text": cut(text, limit), "emoji": False}


def _message(context: AlertContext, text: str, width: int) -> Block:
    title = f"{ICONS[context.alert.severity]} {headline(context)}"
    fields = [plain(f"{name}: {value}", width) for name, value in facts(context)]
    happened = "\n".join(["What happened (UTC)", *(cut(line, width) for line in sequence(context))])
    steps = "\n".join(["First steps", *runbook(context)])
    texts = (happened, PAIRS + text, steps)
    blocks: list[Block] = [
        {"type": "section", "fields": fields},
        *(_section(plain(text, SECTION)) for text in texts),
        *(_section(_link(name, url)) for name, url in context.links.urls_by_label().items()),
    ]
    return message(title, blocks, origin(context))


def _section(text: Block) -> Block:
    return {"type": "section", "text": text}


def _link(name: str, url: str) -> Block:
    """A link of ours: nothing in it is as the logs have it."""
    return {"type": "mrkdwn", "text": f"<{_escaped(url)}|{name}>", "verbatim": True}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
