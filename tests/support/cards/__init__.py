"""The parser of Adaptive Cards, for the tests of the messages to Teams."""
