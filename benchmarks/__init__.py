"""Speed, memory and costs, measured on the machine at hand: `make bench`."""
