"""What must not change: tiny runs of every method, written down and compared.

`python scripts/net.py check` runs it. Nothing here knows a module of softtf but `softtf` itself and the command line.
"""
