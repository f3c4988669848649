"""Bytes behind URLs: http and https by the standard library, everything else by fsspec.

What a manifest says never becomes a URL by itself: shard names are matched exactly and put after the URL
that the user gave. Errors name that URL without user, password and query.
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from pipelines.errors import TsgcError, UsageError
from pipelines.files import NO_SPACE

ATTEMPTS = 5  # of each download; after them one clear error
WAIT = 0.5  # seconds before the second attempt; doubled before each further one
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20  # bytes
MOST_MANIFEST = 1 << 30  # bytes; a million clips take 65 MB
AGAIN_LATER = {408, 425, 429}  # HTTP status; so are all from 500 on
REFUSED = ("file", "local", "pipe", "data", "ftp")  # of these, plain paths are all that anybody needs
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://[^\s/][^\s]*")
_HTTP = ("http", "https")

T = TypeVar("T")


class _AgainError(Exception):
    """What went wrong with one attempt, if another may go better."""


def is_url(place: Path | str) -> bool:
    """Whether shards lie elsewhere: anything with a scheme, or that pretends to have one."""
    text = place if isinstance(place, str) else ""
    return "://" in text or "::" in text or (text.partition(":")[0] in REFUSED and ":" in text)


def parse_place(text: str) -> Path | str:
    """What a user gave as a shard set: a path, or a URL that is checked. Raises TsgcError."""
    return check_url(text) if is_url(text) else Path(text)


def check_url(url: str) -> str:
    """The URL, without the manifest's name at its end; TsgcError for one that is not simply remote."""
    match = _URL.fullmatch(url)
    if match is None or "::" in url or match[1] in REFUSED:
        raise UsageError(
            f"{safe(url)}: not a place of remote shards; expected http://, https:// or another scheme of"
            " fsspec (s3://, gs://, ...), or a plain path of a folder here"
        )
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.removesuffix("manifest.json").rstrip("/")))


def join_url(url: str, file: str) -> str:
    """The URL of a file in the folder `url`, with its query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path}/{file}"))


def safe(url: str) -> str:
    """The URL as it may be shown: user, password, query and fragment are often secrets."""
    shown = re.split(r"[?#]", url, maxsplit=1)[0]
    return re.sub(r"//[^/]*@", "//", shown)


def read_remote(url: str) -> bytes:
    """All of a small remote file. Raises TsgcError after ATTEMPTS failures."""

    def attempt() -> bytes:
        with _opened(url) as stream:
            data = stream.read(MOST_MANIFEST + 1)
            expected = getattr(stream, "headers", {}).get("Content-Length", "")
        if len(data) > MOST_MANIFEST:
            raise TsgcError(f"{safe(url)}: more than {MOST_MANIFEST >> 20} MiB; not a manifest of shards")
        if expected.isdigit() and len(data) != int(expected):
            raise _AgainError(f"ended after {len(data):,} of {int(expected):,} bytes")
        return data

    return _patiently(url, attempt)


def download(url: str, file: BinaryIO, size: int, sha256: str, go_on: Callable[[], bool]) -> None:
    """Write a remote file of known size and sha256 to `file`, from its start.

    A download that breaks off, or whose bytes are others, starts again, ATTEMPTS times in all. `go_on` is
    asked now and then. Raises TsgcError.
    """

    def attempt() -> None:
        file.seek(0)
        done, digest = 0, hashlib.sha256()
        with _opened(url) as stream:
            while chunk := stream.read(CHUNK):
                if not go_on():
                    raise TsgcError(f"{safe(url)}: no longer needed")
                done += len(chunk)
                if done > size:
                    raise _AgainError(f"longer than the {size:,} bytes that the manifest says")
                digest.update(chunk)
                file.write(chunk)
        if done < size:
            raise _AgainError(f"ended after {done:,} of {size:,} bytes")
        if digest.hexdigest() != sha256:
            raise _AgainError("its sha256 is not the manifest's")
        file.flush()

    _patiently(url, attempt)


def _patiently(url: str, attempt: Callable[[], T]) -> T:
    for number in range(ATTEMPTS):
        if number:
            time.sleep(WAIT * 2 ** (number - 1))
        try:
            return attempt()
        except _AgainError as error:
            said = str(error)
    raise TsgcError(
        f"{safe(url)}: {said}; tried {ATTEMPTS} times; is the server well, and are its files the manifest's?"
    )


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    """A stream of the file's bytes, whose failures are TsgcError, or _AgainError if they may pass."""
    opener = _open_http if urlsplit(url).scheme in _HTTP else _open_fsspec
    try:
        with opener(url) as stream:
            yield stream
    except (TsgcError, _AgainError):
        raise
    except urllib.error.HTTPError as error:
        said = f"the server answers {error.code} {_words(error.reason, url)}"
        error.close()
        if error.code >= 500 or error.code in AGAIN_LATER:
            raise _AgainError(said) from None
        raise TsgcError(f"{safe(url)}: {said}; is the address right, and may it be read from here?") from None
    except (FileNotFoundError, PermissionError) as error:
        raise TsgcError(f"{safe(url)}: {type(error).__name__}; is the address right?") from None
    except (ImportError, ValueError, http.client.InvalidURL) as error:
        raise TsgcError(f"{safe(url)}: cannot be opened: {_words(error, url)}") from None
    except urllib.error.URLError as error:
        raise _AgainError(f"cannot be reached ({_words(error.reason, url)})") from None
    except Exception as error:  # each of fsspec's file systems has errors of its own
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise  # of this machine's disk
        raise _AgainError(f"broke off ({_words(error, url)})") from None


def _words(error: object, url: str) -> str:
    """An error in one line, without what `safe` hides of the URL."""
    text = " ".join(str(error).split()) or type(error).__name__
    parts = urlsplit(url)
    text = text.replace(url, safe(url))
    for secret in (parts.netloc.rpartition("@")[0], parts.password, parts.query):
        text = text.replace(secret, "...") if secret else text
    return text


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to http and https, and never from https to http."""

    max_redirections = 5

    def redirect_request(self, request: Any, *rest: Any) -> Any:
        before, after = urlsplit(request.full_url).scheme, urlsplit(rest[-1]).scheme
        if after not in (_HTTP if before == "http" else ("https",)):
            raise TsgcError(
                f"{safe(request.full_url)}: the server redirects from {before} to {after or 'nowhere'};"
                " give the address that it means"
            )
        return super().redirect_request(request, *rest)


def _open_http(url: str) -> Any:
    parts = urlsplit(url)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
    request = urllib.request.Request(plain, headers={"User-Agent": "tsgc"})
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # Not to be sent on to wherever the server redirects.
        request.add_unredirected_header("Authorization", "Basic " + b64encode(pair.encode()).decode())
    opener = urllib.request.OpenerDirector()  # build_opener's would open file: and ftp: too
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener.open(request, timeout=TIMEOUT)


def _open_fsspec(url: str) -> Any:
    import fsspec  # takes a while, and few need it

    return fsspec.open(url, "rb")
