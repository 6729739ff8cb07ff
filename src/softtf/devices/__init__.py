"""Where to compute, in which number type, with how much memory; and torch's global settings."""
