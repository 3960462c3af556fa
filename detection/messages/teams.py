"""An alert as an Adaptive Card in the envelope that a Teams workflow takes.

Values from the logs are in text runs, in which Teams reads neither Markdown nor links nor mentions (Adaptive
Cards, "RichTextBlock"). A workflow refuses more than about 28 KB, and has failed from 21 KB on. The message
stays below 20,000 bytes: it omits the oldest pairs first.
"""

from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from detection.messages.context import AlertContext
from detection.messages.facts import cut, evidence, facts, headline, origin, pair_lines, runbook, sequence
from detection.messages.text import decreasing_counts, first_that_fits

MESSAGE_BYTES = 20_000
TITLE = 500
NARROW_WIDTHS = (100, 50)  # characters of a value, for values whose characters take twelve bytes each
# A client may read it as Markdown, so it contains no value from the logs.
FALLBACK = "An alert of this detection. This client is too old to show it."
COLORS = {"High": "attention", "Medium": "warning", "Low": "accent", "Informational": "default"}

Element = dict[str, object]


def teams(context: AlertContext) -> bytes:
    """The message as JSON bytes. A message that is too long shows fewer pairs, and then shorter values."""
    pairs = pair_lines(context)

    sizes = [(TITLE, pair_count) for pair_count in decreasing_counts(len(pairs))]
    sizes += [(width, 0) for width in NARROW_WIDTHS]
    cards = (_card(context, evidence(context, pairs[:pair_count]), width) for width, pair_count in sizes)
    return first_that_fits((to_json(card, ensure_ascii=True) for card in cards), MESSAGE_BYTES)


def card(
    title: str, severity: str, blocks: Sequence[Element], source: str, links: Mapping[str, str]
) -> Element:
    """A card in its envelope: the title, the blocks, the source, and a button for each link."""
    content = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": FALLBACK,
        "msteams": {"width": "Full"},
        "body": [
            text_block(cut(title, TITLE), weight="bolder", size="medium", color=COLORS[severity]),
            *blocks,
            text_block(source, size="small", isSubtle=True),
        ],
        "actions": [{"type": "Action.OpenUrl", "title": name, "url": url} for name, url in links.items()],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": content,
    }
    return {"type": "message", "attachments": [attachment]}


def text_block(text: str, links: Mapping[str, str] | None = None, **style: object) -> Element:
    """A block that shows a text literally, keeps its line breaks, and has links after it."""
    runs: list[Element] = [{"type": "TextRun", "text": text, **style}]
    for name, url in (links or {}).items():
        action = {"type": "Action.OpenUrl", "url": url}
        runs += [{"type": "TextRun", "text": " "}, {"type": "TextRun", "text": name, "selectAction": action}]
    return {"type": "RichTextBlock", "inlines": runs}


def _card(context: AlertContext, pairs_text: str, width: int) -> Element:
    fact_blocks: list[Element] = [
        {
            "type": "RichTextBlock",
            "spacing": "none",
            "inlines": [
                {"type": "TextRun", "text": f"{name}: ", "weight": "bolder"},
                {"type": "TextRun", "text": cut(value, width)},
            ],
        }
        for name, value in facts(context)
    ]
    pairs = [text_block(line, fontType="monospace", size="small") for line in pairs_text.split("\n")]
    blocks = [
        *fact_blocks,
        _heading("What happened"),
        *(_body_line(cut(line, width)) for line in sequence(context)),
        _heading("Pairs, the newest first"),
        *pairs,
        _heading("First steps"),
        *map(_body_line, runbook(context)),
    ]
    links = context.links.urls_by_label()
    return card(headline(context), context.alert.severity, blocks, origin(context), links)


def _heading(text: str) -> Element:
    return {**text_block(text, weight="bolder"), "separator": True}


def _body_line(text: str) -> Element:
    return {**text_block(text), "spacing": "small"}
