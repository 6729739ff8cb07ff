"""The device, the type and the memory to compute with, and torch's global settings."""
