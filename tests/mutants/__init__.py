"""Faults planted one at a time, each with the test that must fail: tests that would notice (see CONTRIBUTING.md)."""
