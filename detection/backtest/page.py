"""The report as one HTML file that needs nothing else: no script, no address, and a policy that lets nothing in.

What the logs say is text in it and nothing more: the template escapes it, and control characters are made visible.
"""

from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from detection.backtest.backtest import Backtest
from detection.backtest.charts import bar_percent, chart_by_day
from detection.base.timestamps import iso
from detection.messages.text import escape_line
from detection.rules.model import Rule

HERE = Path(__file__).parent
POLICY = "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'"


def render_page(result: Backtest, rule: Rule) -> str:
    """The report of a backtest of a rule."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"escape_line": escape_line, "number": "{:,}".format, "moment": iso}
    days = result.figures.days
    return environment.get_template("page.html.j2").render(
        result=result,
        figures=result.figures,
        sides=rule.sequence.sides,
        bar_percent=bar_percent,
        charts={
            "Messages": chart_by_day([(f"{day.day}", day.messages) for day in days], "messages"),
            "Alerts": chart_by_day([(f"{day.day}", day.alerts) for day in days], "alerts"),
            "Pairs": chart_by_day([(f"{day.day}", day.pairs) for day in days], "pairs"),
        },
        style=Markup(style),  # noqa: S704  # a file of this project
        policy=POLICY.format(b64encode(sha256(style.encode()).digest()).decode()),
    )
