"""Benchmarks of speed, memory and cost on this machine: `make bench`."""
