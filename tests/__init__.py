"""The tests: `unit` mirrors `core`, `integration` runs on real services, `faults` breaks them."""
