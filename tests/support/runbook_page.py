"""The runbook of the incident page: docs/runbook.md as a part of an HTML page."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

PREFIX = "runbook"  # of ids: the page has other parts
_TABLE = re.compile(r"<table>\n<thead>\n<tr>\n<th>(.*?)</th>")


def runbook_page(markdown: str) -> str:
    """The page in HTML: headings are a level lower, and links to other pages of docs/, which no app serves, are text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for heading, inline, end in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if heading.type == "heading_open":
            slug = re.sub(r"[^a-z0-9]+", "-", inline.content.lower()).strip("-")
            heading.attrSet("id", PREFIX if heading.tag == "h1" else f"{PREFIX}-{slug}")
            heading.tag = end.tag = f"h{int(heading.tag[1]) + 1}"
    for token in tokens:
        token.children = _with_own_links(token.children or [])
    html = str(parser.renderer.render(tokens, parser.options, {}))
    scroll = r'<div class="scroll" tabindex="0" role="region" aria-label="Runbook: table by \1">\n\g<0>'
    html = _TABLE.sub(scroll, html).replace("</table>", "</table>\n</div>")
    return html.replace("<pre>", '<pre tabindex="0" aria-label="To copy">')


def _with_own_links(tokens: list[Token]) -> list[Token]:
    """The tokens without links, except those within the page."""
    own: list[Token] = []
    links: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrGet("href"))
            links.append(target.startswith("#"))
            token.attrSet("href", f"#{PREFIX}-{target[1:]}")
        if token.type not in {"link_open", "link_close"} or links[-1]:
            own.append(token)
        if token.type == "link_close":
            links.pop()
    return own
