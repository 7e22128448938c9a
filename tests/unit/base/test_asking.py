"""One question over HTTP: an answer within the time and the size that were allowed, or that there was none."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest

from compliance_pipelines.base.asking import Answer, Deadline, NoAnswerError, ask_all, post
from tests.support.certificates import write_certificate
from tests.support.replies import Reply, serving

if TYPE_CHECKING:
    from pathlib import Path


def ask(url: str, body: bytes = b"", seconds: float = 20, most: int = 100) -> Answer:
    return post(url, body, content_type="text/x-test", deadline=Deadline(seconds), most=most)


def test_the_answer_is_what_was_answered_whatever_its_status() -> None:
    seen: list[tuple[str, bytes]] = []

    def answer(path: str, body: bytes) -> Reply:
        seen.append((path, body))
        return Reply(418, b"short and stout", "Text/X-Teapot; charset=utf-8")

    with serving(answer) as port:
        answered = ask(f"http://127.0.0.1:{port}/a/b", b"tea" * 50_000)

    assert answered == Answer(418, "text/x-teapot", b"short and stout")
    assert seen == [("/a/b", b"tea" * 50_000)]
    assert str(answered) == "HTTP status 418 ('short and stout')"


def test_an_answer_may_be_as_large_as_was_said_and_no_larger() -> None:
    with serving(lambda _path, body: Reply(200, body)) as port:
        assert ask(f"http://127.0.0.1:{port}", bytes(100)).body == bytes(100)
        with pytest.raises(NoAnswerError, match="more than 100 bytes"):
            ask(f"http://127.0.0.1:{port}", bytes(101))


def test_what_is_said_does_nothing_to_a_terminal() -> None:
    assert str(Answer(500, "", b"\x1b[31m\r\nred\x00" + b"x" * 1000)).isprintable()


def test_over_tls_the_host_must_show_a_certificate_for_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = write_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(lambda _path, body: Reply(200, body), tls=context) as port:
        with pytest.raises(NoAnswerError, match="certificate verify failed"):
            ask(f"https://127.0.0.1:{port}/", b"x")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask(f"https://127.0.0.1:{port}/", b"x").body == b"x"
        with pytest.raises(NoAnswerError, match=r"Hostname mismatch"):
            ask(f"https://localhost:{port}/", b"x")


def test_a_host_that_speaks_no_tls_is_left_in_time() -> None:
    def silent(connection: Any) -> None:  # noqa: ANN401 - a socket
        connection.recv(1)

    with serving(lambda _path, _body: Reply(200), lambda: silent) as port, pytest.raises(NoAnswerError):
        ask(f"https://127.0.0.1:{port}/", seconds=1.0)


def test_a_host_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NoAnswerError, match="cannot be asked"):
        ask("http://nobody.invalid/")


def test_whoever_does_not_come_to_an_end_is_left_behind() -> None:
    """Such as the look-up of a name, which nothing can bound."""
    released = threading.Event()

    def stuck() -> str:
        released.wait()
        return "late"

    answers = ask_all({"stuck": stuck, "quick": lambda: "here"}, 0.5)
    released.set()

    assert answers["quick"] == "here"
    assert isinstance(answers["stuck"], NoAnswerError)


def test_what_is_raised_is_the_answer() -> None:
    def fails() -> str:
        raise KeyError("x")

    assert isinstance(ask_all({"it": fails}, 20)["it"], KeyError)
    assert ask_all({}, 20) == {}
