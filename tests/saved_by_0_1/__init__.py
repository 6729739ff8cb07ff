"""Learners and a run that version 0.1 saved, and what they answered then."""
