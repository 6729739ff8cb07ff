"""Runs: a stream learned by one method, its folder, and what it found."""
