"""A real HTTP server on this machine that serves a folder, well or badly."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Serves `folder`; `ill` says what goes wrong: file name -> ailments, one a request, in turn."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.ill: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()
        self.authorised: list[str | None] = []
        self.delay = 0.0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """Clients that go away are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        self.server.asked[name] += 1
        self.server.authorised.append(self.headers.get("Authorization"))
        time.sleep(self.server.delay)
        ailments = self.server.ill.get(name, [])
        ailment = ailments.pop(0) if ailments else "none"
        if ailment.isdigit():
            return self.send_error(int(ailment))
        if ailment.startswith("to "):
            self.send_response(302)
            self.send_header("Location", ailment[3:])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if ailment == "hang up":
            return self.connection.close()
        path = self.server.folder / name
        if not path.is_file():
            return self.send_error(404)
        data = path.read_bytes() + (b"more" if ailment == "more" else b"")
        self.send_response(200)
        if ailment != "no length":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if ailment in ("truncate", "no length"):
            data = data[: len(data) // 2]
        if ailment == "flip":
            data = data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:]
        self.wfile.write(data)
        return None


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """The server, until the end of the block."""
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
