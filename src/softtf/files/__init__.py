"""Files that are whole or not there, and files that anyone may have made: read within bounds, never run."""
