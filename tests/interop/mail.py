"""A client that speaks SMTP; imported by tests, runs no test itself."""

import socket


class Mail:
    """The client's side of one SMTP connection, on ``sock``. ``greeting``: the server's first line."""

    def __init__(self, sock: socket.socket) -> None:
        self._lines = sock.makefile("rwb")
        self.greeting = self._answer()

    def _answer(self) -> str:
        """The server's whole answer, of one line or more."""
        answer = b""
        while True:
            line = self._lines.readline()
            answer += line
            if line[3:4] != b"-":
                return answer.decode()

    def ask(self, command: str) -> str:
        """Give ``command``; returns the answer."""
        self._lines.write(command.encode() + b"\r\n")
        self._lines.flush()
        return self._answer()
