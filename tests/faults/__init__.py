"""Tests that break things: killed workers, stores and databases that go away."""
