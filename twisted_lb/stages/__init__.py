"""The rooms that a connection walks through; ``session.py`` knows their order."""
