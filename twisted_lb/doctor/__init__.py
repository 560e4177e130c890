"""What this machine lacks for a configuration, and the commands that put it right; one module per subject."""
