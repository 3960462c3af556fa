"""A rule: its model and loading, identity matching options, silences and exclusions."""
