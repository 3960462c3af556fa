"""A real browser for the tests of the incident page: Chromium from npm, which runs without any right or installation."""
