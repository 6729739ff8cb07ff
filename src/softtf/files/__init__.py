"""Atomic files, and safe reading of files that anyone may have made: bounded in size, and never run."""
