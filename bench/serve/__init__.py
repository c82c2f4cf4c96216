"""Proofs and comparisons of the server: `python -m bench.serve.fuzz|overload|soak|against BUNDLE`."""
