"""Slow, obvious references written from the formulas alone; they import nothing of softtf."""
