"""The report as one HTML file. It loads nothing and has no script; text from the logs is escaped."""

from pathlib import Path

from detection.backtest.backtest import Backtest
from detection.backtest.charts import chart_by_day, count_bars
from detection.base.html import content_policy, page_templates
from detection.base.timestamps import iso
from detection.messages.text import escape_line, escape_name, plural
from detection.rules.model import Rule

PAGES = Path(__file__).with_name("pages")


def render_page(result: Backtest, rule: Rule) -> str:
    templates = page_templates(
        PAGES,
        {
            "escape_line": escape_line,
            "escape_name": escape_name,
            "number": "{:,}".format,
            "plural": plural,
            "moment": iso,
        },
    )
    days = result.figures.days
    return templates.get_template("report.html").render(
        result=result,
        figures=result.figures,
        sides=rule.sequence.sides,
        count_bars=count_bars,
        charts={
            "messages": chart_by_day([(day.day, day.messages) for day in days], "messages"),
            "alerts": chart_by_day([(day.day, day.alerts) for day in days], "alerts"),
            "pairs": chart_by_day([(day.day, day.pairs) for day in days], "pairs"),
        },
        policy=content_policy(templates, "base-uri 'none'", "form-action 'none'"),
    )
