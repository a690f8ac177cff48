"""The application's server: this machine only, a token for whoever opens the page, nothing asked of anybody else."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from http import HTTPStatus
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dmaf_lite.base.door import USER_ERRORS, sentence
from dmaf_lite.lessons.application.engine import Engine, EngineStopped
from dmaf_lite.lessons.application.library import SHIPPED, Entry, Library
from dmaf_lite.widgets.assets import page, script
from dmaf_lite.widgets.standalone import page_data

HERE = Path(__file__).parent
COOKIE = "dmaf-explore"
KEYS = re.compile(r"[01]{1,8}")


class Application(ThreadingHTTPServer):
    """One server, one library, one computing process.

    Args:
        library: What can be opened.
        engine: Who computes.
        port: 0 for any that is free.
    """

    daemon_threads = True

    def __init__(self, library: Library, engine: Engine, port: int = 0) -> None:
        self.library, self.engine, self.token = library, engine, secrets.token_hex(24)
        super().__init__(("127.0.0.1", port), Handler)

    @property
    def address(self) -> str:
        """What a person opens."""
        return f"http://127.0.0.1:{self.server_address[1]}/?token={self.token}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Application
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "explore", ""

    def log_message(self, *words: Any) -> None:
        """Nothing: a line for every slice that is asked for tells nobody anything."""

    # -- who may ask ---------------------------------------------------------------------------------------------------

    def _trusted(self) -> bool:
        """The right host (a page elsewhere cannot pretend to be this one) and the token, by cookie."""
        port = self.server.server_address[1]
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            return False
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get(f"{COOKIE}-{port}")
        return cookie is not None and secrets.compare_digest(cookie.value, self.server.token)

    def do_GET(self) -> None:
        """Pages and lists."""
        url = urlsplit(self.path)
        token = parse_qs(url.query).get("token", [""])[0]
        if url.path == "/" and token and secrets.compare_digest(token, self.server.token):
            self._answer(b"", "text/plain", HTTPStatus.SEE_OTHER, {
                "Location": "/", "Set-Cookie": f"{COOKIE}-{self.server.server_address[1]}={token}; HttpOnly; "
                                               "SameSite=Strict; Path=/"})
        elif not self._trusted():
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that the terminal shows: it carries the token")
        elif url.path == "/":
            nonce = secrets.token_hex(12)
            code = f"{script('page')}\n{(HERE / 'app.js').read_text(encoding='utf-8')}\nopenApplication();"
            text = page("Explore", code, nonce=nonce)
            self._answer(text.encode(), "text/html; charset=utf-8", more={
                "Content-Security-Policy": "default-src 'none'; "
                f"script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
                "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
                "frame-ancestors 'none'"})
        elif url.path == "/sources":
            self._json(self.server.library.listing())
        elif url.path == "/progress":
            words, share = self.server.engine.progress
            self._json({"words": words, "share": share})
        elif url.path == "/shipped":
            self._json(page_data(SHIPPED))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """Questions: only the page's own script can set the header."""
        if not self._trusted() or self.headers.get("X-Explore") != "1":
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that the terminal shows: it carries the token")
            return
        url = urlsplit(self.path)
        try:
            act = getattr(self, f"_post_{url.path[1:]}", None)
            if act is None:
                self._refuse(HTTPStatus.NOT_FOUND, "there is no such question")
                return
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            act(query if url.path == "/upload" else json.loads(self._body() or b"{}"))
        except EngineStopped as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error), stopped=True)
        except USER_ERRORS as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, sentence(error))
        except (KeyError, TypeError):
            self._refuse(HTTPStatus.BAD_REQUEST, "the question makes no sense")

    # -- questions -----------------------------------------------------------------------------------------------------

    def _post_warm(self, question: dict[str, Any]) -> None:
        self.server.engine.start()
        self._json({})

    def _post_open(self, question: dict[str, Any]) -> None:
        self._bytes(self.server.engine.ask("open", source=self._entry(question).source))

    def _post_answers(self, question: dict[str, Any]) -> None:
        keys = [key for key in question["keys"] if KEYS.fullmatch(key)]
        self._bytes(self.server.engine.ask("answers", source=self._entry(question).source, keys=keys))

    def _post_degrade(self, question: dict[str, Any]) -> None:
        self._bytes(self.server.engine.ask("degraded", source=self._entry(question).source, key=question["key"],
                                           scan=question["scan"], kind_of=question["kind"],
                                           level=float(question["level"])))

    def _post_save(self, question: dict[str, Any]) -> None:
        self._bytes(self.server.engine.ask("save", source=self._entry(question).source, key=question["key"]))

    def _post_training(self, question: dict[str, Any]) -> None:
        self._bytes(self.server.engine.ask("training", path=self._entry(question).source["path"]))

    def _post_cancel(self, question: dict[str, Any]) -> None:
        self.server.engine.stop()
        self._json({})

    def _post_upload(self, query: dict[str, str]) -> None:
        """One file of a study that is dropped; it goes to a folder that is removed when the application ends."""
        length = int(self.headers.get("Content-Length", 0))
        path = self.server.library.place_for(query["batch"], query["name"], length)
        partial = path.with_name(f".{path.name}.part")
        with partial.open("wb") as file:
            shutil.copyfileobj(_Some(self.rfile, length), file)
        partial.replace(path)
        self._json({})

    def _post_dropped(self, question: dict[str, Any]) -> None:
        entry = self.server.library.add_dropped(question["batch"])
        self._json({"name": entry.name})

    def _entry(self, question: dict[str, Any]) -> Entry:
        return self.server.library.entries[question["name"]]

    # -- answers -------------------------------------------------------------------------------------------------------

    def _body(self) -> bytes:
        return self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 1_000_000))

    def _json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode(), "application/json")

    def _bytes(self, value: bytes) -> None:
        self._answer(value, "application/octet-stream")

    def _refuse(self, status: HTTPStatus, words: str, *, stopped: bool = False) -> None:
        self.close_connection = True  # what is left of a body is not read
        self._answer(json.dumps({"words": words, "stopped": stopped}).encode(), "application/json", status)

    def _answer(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK,
                more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
                            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
                            **(more or {})}.items():
            self.send_header(name, value)
        try:
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # the page was closed meanwhile
            self.close_connection = True


class _Some:
    """The first `length` bytes of a stream."""

    def __init__(self, stream: Any, length: int) -> None:
        self._stream, self._left = stream, length

    def read(self, most: int = -1) -> bytes:
        part = self._stream.read(min(self._left, most if most > 0 else self._left))
        self._left -= len(part)
        return part
