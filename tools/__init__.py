"""What builds and packages: run as `python -m tools.NAME` from the root."""
