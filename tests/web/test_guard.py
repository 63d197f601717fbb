"""What stands before every request: each thing that must not come in, and what comes in all the same."""

import pytest
from asgi import ask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from pellucid.errors import ResourceError, SettingError
from pellucid.web.guard import MOST_BODY
from pellucid.web.serve import Address, application, bind, guarded


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} {request.url.path} {len(await request.body())}")


def answer(method="GET", path="/secret/echo", host="127.0.0.1:8765", listens="127.0.0.1", content=(b"",), **headers):
    """What the guarded application says to one request."""
    app = guarded(application([Route("/echo", echo, methods=["GET", "POST"])]), Address(None, listens, 8765, "secret"))
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return ask(app, method, path, {"host": host, **named}, content)


def test_what_comes_in():
    found = answer()
    assert (found.status, found.text) == (200, "GET /echo 0")
    assert answer(host="localhost:9999").status == 200, "behind an SSH tunnel the port is another one"
    assert answer(host="[::1]:8765").status == 200
    posted = answer("POST", content=[b"abc"], origin="http://127.0.0.1:8765", sec_fetch_site="same-origin")
    assert posted.text == "POST /echo 3"
    assert answer("POST", host="localhost:4000", origin="http://localhost:4000").status == 200
    assert answer("POST").status == 200, "a program that is no browser sends no origin"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (404, {"path": "/echo"}),
        (404, {"path": "/wrong/echo"}),
        (404, {"path": "/"}),
        (404, {"path": "/secret"}),
        (404, {"path": "/secretx/echo"}),
        (403, {"host": "evil.example"}),
        (403, {"host": "evil.example:8765"}),
        (403, {"host": "127.0.0.1.evil.example"}),
        (403, {"host": "192.168.1.5:8765"}),
        (403, {"host": ""}),
        (403, {"host": "[::1"}),
        (405, {"method": "PUT"}),
        (405, {"method": "DELETE"}),
        (405, {"method": "OPTIONS"}),
        (403, {"method": "POST", "origin": "http://evil.example"}),
        (403, {"method": "POST", "origin": "null"}),
        (403, {"method": "POST", "origin": "http://127.0.0.1:9999"}),
        (403, {"method": "POST", "sec_fetch_site": "cross-site"}),
        (403, {"method": "POST", "sec_fetch_site": "same-site"}),
        (413, {"method": "POST", "content_length": str(MOST_BODY + 1), "content": [b"x"]}),
        (413, {"method": "POST", "content_length": "many", "content": [b"x"]}),
    ],
)
def test_what_is_refused(status, request_):
    assert answer(**request_).status == status


def test_a_body_that_grows_beyond_the_limit_is_cut_off():
    assert answer("POST", content=[b"x" * (1 << 20)] * 4).text == f"POST /echo {4 << 20}"
    assert answer("POST", content=[b"x" * (1 << 20)] * 5).status == 500


def test_a_server_for_others_answers_to_its_names_and_to_any_number():
    assert answer(host="192.168.1.5:8765", listens="0.0.0.0").status == 200
    assert answer(host="evil.example", listens="0.0.0.0").status == 403
    assert answer(path="/echo", host="192.168.1.5", listens="0.0.0.0").status == 404, "the token is always needed"


def test_every_answer_says_what_a_page_may_do():
    for found in (
        answer(),
        answer(path="/wrong/"),
        answer(path="/secret/nothing"),
        answer(path="/secret/static/ui.js"),
    ):
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["../guard.py", "%2e%2e/guard.py", "..%2fguard.py", "/etc/passwd", "%2fetc%2fpasswd"])
def test_static_files_alone_are_served(path):
    assert answer(path=f"/secret/static/{path}").status == 404


def test_a_port_is_taken_or_the_next_one():
    first = bind(port=0)
    try:
        with pytest.raises(ResourceError, match="cannot be served there") as told:
            bind(port=first.port)
        assert "--port 0" in str(told.value)
        second = bind()
        third = bind()
        assert third.port != second.port and third.token != second.token and len(third.token) >= 20
        assert third.url == f"http://127.0.0.1:{third.port}/{third.token}/"
        second.sock.close()
        third.sock.close()
    finally:
        first.sock.close()
    with pytest.raises(ResourceError, match="cannot be served there"):
        bind("192.0.2.1", 0)  # an address of documentation: none of this machine's


@pytest.mark.parametrize(("host", "port"), [("", None), ("127.0.0.1", -1), ("127.0.0.1", 65536)])
def test_no_host_is_not_every_host_and_ports_end(host, port):
    with pytest.raises(SettingError):
        bind(host, port)
