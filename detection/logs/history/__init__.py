"""One pass over a range of the past, for demo, replay and backtest."""
