"""An alert as a Slack message (Block Kit).

Values from the logs are in `plain_text` elements, in which Slack reads neither mentions nor links nor markup.
Limits: 150 characters in a header, 3,000 in a section, ten fields of 2,000, and, undocumented, about 13,200
in all (slackapi/bolt-js #2509). The message stays below 10,000 bytes: it omits the oldest pairs first.
"""

from pydantic_core import to_json

from detection.messages.context import AlertContext
from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.text import decreasing_counts, first_that_fits

HEADER = 150
FIELD = 2_000
SECTION = 3_000
FIELDS = 10  # of a section
INCIDENTS = 45  # sections of a digest: a message has at most 50 blocks
NARROW_WIDTHS = (100, 50)  # characters of a field, for fields whose characters take twelve bytes each
MESSAGE_BYTES = 10_000
PAIRS = "Pairs, the newest first\n"
ICONS = {"High": "🔴", "Medium": "🟠", "Low": "🟡", "Informational": "🔵"}

Block = dict[str, object]


def slack(context: AlertContext) -> bytes:
    """The message as JSON bytes. A message that is too long shows fewer pairs, and then shorter values."""
    pairs = pair_lines(context)
    texts = [evidence(context, pairs[:pair_count]) for pair_count in decreasing_counts(len(pairs))]
    sizes = [(FIELD, text) for text in texts if len(PAIRS + text) <= SECTION]
    sizes += [(width, texts[-1]) for width in NARROW_WIDTHS]
    messages = (_message(context, text, width) for width, text in sizes)
    return first_that_fits((to_json(message, ensure_ascii=True) for message in messages), MESSAGE_BYTES)


def message(title: str, blocks: list[Block], source: str) -> Block:
    return {
        # Notifications show it instead of the blocks.
        "text": _escaped(cut(title, HEADER)),
        "mrkdwn": False,
        "blocks": [
            {"type": "header", "text": plain(title, HEADER)},
            *blocks,
            {"type": "context", "elements": [plain(source, FIELD)]},
        ],
    }


def plain(text: str, limit: int) -> Block:
    """A text without markup, links or mentions, cut to `limit` characters."""
    return {"type": "plain_text", "text": cut(text, limit), "emoji": False}


def link(name: str, url: str) -> Block:
    """A link. The name and the URL must contain no value from the logs."""
    return {"type": "mrkdwn", "text": f"<{_escaped(url)}|{name}>", "verbatim": True}


def _message(context: AlertContext, pairs_text: str, width: int) -> Block:
    happened = "\n".join(["What happened", *(cut(line, width) for line in sequence(context))])
    steps = "\n".join(["First steps", *runbook(context)])
    texts: list[Block] = [plain(text, SECTION) for text in (happened, PAIRS + pairs_text, steps)]
    texts += [link(name, url) for name, url in context.links.urls_by_label().items()]
    fields = [plain(f"{name}: {value}", width) for name, value in facts(context)]
    blocks: list[Block] = [
        {"type": "section", "fields": fields[begin : begin + FIELDS]}
        for begin in range(0, len(fields), FIELDS)
    ]
    blocks += [{"type": "section", "text": text} for text in texts]
    return message(f"{ICONS[context.alert.severity]} {headline(context)}", blocks, origin(context))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
