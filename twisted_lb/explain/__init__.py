"""What a configuration does with a connection, or a request, that somebody describes."""
