"""The incident table: what is kept between runs, and the two tables that keep it."""
