"""Pairs privileged configuration changes with the abuse signals that follow them."""

__version__ = "0.1.0"  # as in pyproject.toml
