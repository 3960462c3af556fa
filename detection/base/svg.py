"""SVG drawings as markup, for the pages.

Text is escaped. Fractions are rounded to a tenth of a unit. Style sheets set the colours, for the pages
forbid inline styles: every shape has a class.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale: the value `begin` lies at `begin_position`, `end` at `end_position`."""

    begin: float
    end: float
    begin_position: float
    end_position: float

    def position(self, value: float) -> float:
        """The position of a value, which may lie outside of the scale."""
        fraction = (value - self.begin) / (self.end - self.begin)
        return self.begin_position + fraction * (self.end_position - self.begin_position)


def element(name: str, *children: str, **attributes: float | str) -> Markup:
    """An SVG element. The attribute `class` is spelled `class_`; any other `_` becomes a hyphen."""
    pairs = [
        Markup(' {}="{}"').format(
            key.rstrip("_").replace("_", "-"), f"{round(value, 1):g}" if isinstance(value, float) else value
        )
        for key, value in attributes.items()
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup().join(pairs), Markup().join(children))


def drawing(shapes: Iterable[Markup], width: int, height: int, css_class: str, **attributes: str) -> Markup:
    """A drawing of `width` × `height` units; (0, 0) is the top left corner."""
    return element("svg", *shapes, class_=css_class, viewBox=f"0 0 {width} {height}", **attributes)


def rectangle(x: float, y: float, width: float, height: float, css_class: str, tooltip: str = "") -> Markup:
    """A rectangle, with a text that shows when the reader points at it."""
    title = [element("title", tooltip)] if tooltip else []
    return element("rect", *title, class_=css_class, x=x, y=y, width=width, height=height)


def line(x1: float, y1: float, x2: float, y2: float, css_class: str) -> Markup:
    return element("line", class_=css_class, x1=x1, y1=y1, x2=x2, y2=y2)


def label(x: float, y: float, text: str, css_class: str) -> Markup:
    """A text on the base line `y`; the class says on which side of `x` it is."""
    return element("text", text, class_=css_class, x=x, y=y)
