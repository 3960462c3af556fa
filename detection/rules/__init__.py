"""A rule: its model, whose a signal is by its identity matching, what is silenced or excluded."""
