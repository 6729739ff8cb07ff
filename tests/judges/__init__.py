"""Judges from outside, and damage drawn at random: slow tests, all of them."""
