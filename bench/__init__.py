"""Side-by-side benchmarks and the makers of records; never part of the tests."""
