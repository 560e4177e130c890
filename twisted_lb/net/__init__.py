"""Sockets: one epoll for all streams, the streams themselves, timers, listening and connecting."""
