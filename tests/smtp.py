"""A mail server on loopback that keeps what it takes; it can be made to refuse, or to fall silent with a mail."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

LIMIT_SECONDS = 60


class MailServer(socketserver.ThreadingTCPServer):
    """`taken` is what it said yes to, or would have: [(recipients, message)]."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.taken: list[tuple[list[str], EmailMessage]] = []
        #: {recipient: answer} instead of yes.
        self.refusals: dict[str, str] = {}
        #: Instead of yes to a whole message.
        self.busy = ""
        #: Without it, no answer follows a message that was taken.
        self.answers = threading.Event()
        self.answers.set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    def ids(self) -> list[str]:
        return [message["Message-ID"] for _, message in self.taken]


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.answers.set()
        server.shutdown()
        thread.join(LIMIT_SECONDS)


class _Conversation(socketserver.StreamRequestHandler):
    timeout = LIMIT_SECONDS

    def handle(self) -> None:
        self._say("220 stand-in")
        people: list[str] = []
        while line := self.rfile.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            match verb.upper():
                case "RCPT":
                    person = rest.partition("<")[2].partition(">")[0]
                    refusal = self._server.refusals.get(person, "")
                    people += [] if refusal else [person]
                    self._say(refusal or "250 ok")
                case "DATA":
                    self._say("354 go on")
                    self._take(people)
                    people = []
                case "QUIT":
                    self._say("221 bye")
                    return
                case "RSET":
                    people = []
                    self._say("250 ok")
                case _:
                    self._say("250 ok")

    def _take(self, people: list[str]) -> None:
        text = b""
        while (line := self.rfile.readline()) not in {b".\r\n", b""}:
            text += line
        if self._server.busy:
            self._say(self._server.busy)
            return
        self._server.taken.append((people, _parsed(text)))
        self._server.answers.wait(LIMIT_SECONDS)
        self._say("250 taken")

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    @property
    def _server(self) -> MailServer:
        assert isinstance(self.server, MailServer)
        return self.server


def _parsed(text: bytes) -> EmailMessage:
    message: Any = message_from_bytes(text, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message
