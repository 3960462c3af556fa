"""From events to chains: pairs, thresholds, output rows."""
