"""Pairs privileged configuration changes with the abuse signals that follow them."""
