"""The rooms that a connection walks through; ``walk.py`` knows their order."""
