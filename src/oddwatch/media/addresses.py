"""Addresses of cameras: which are let through, how they are shown without their secrets, and where an RTSP server
would send its readers."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import socket
import ssl
from base64 import b64encode
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from oddwatch.core.errors import InputError, MediaError

SCHEMES = ("rtsp", "rtsps", "http", "https")
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]*://")
_SECRET = re.compile(
    r"(?i)(?<![a-z0-9])((?:[a-z]*(?:password|passwd|passphrase|pwd|pass|token|secret|key|auth|user|usr|login))\s*=)[^&_/;\s'\"]*"
)
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s'\"]*@")
_LARGEST = 64 * 1024


class _Masking(logging.Filter):
    """httpx logs every address it asks; it shall not log what is secret in one."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(a if isinstance(a, int | float) else masked(str(a)) for a in record.args)
        return True


logging.getLogger("httpx").addFilter(_Masking())


def is_address(text: str) -> bool:
    """Whether ``text`` reads as ``scheme://…`` rather than as a path."""
    return bool(_SCHEME.match(text))


def masked(text: str) -> str:
    """``text`` (an address, or a message with one in it) without user names, passwords, tokens and query values."""
    text = _SECRET.sub(r"\1***", _USERINFO.sub(r"\1***@", text))
    if is_address(text) and " " not in text:
        parts = urlsplit(text)
        query = re.sub(r"=[^&]*", "=***", parts.query)
        text = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
    return text


def checked(url: str) -> SplitResult:
    """The parts of a camera's address.

    A private address is as good as any: the user named it.

    Raises:
        InputError: not rtsp, rtsps, http or https, no host, or a port that is none.
    """
    shown = masked(url)
    if any(ord(c) < 33 or ord(c) == 127 for c in url):
        raise InputError(shown, "holds blanks or control characters", "write blanks as %20")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise InputError(shown, "is no address that can be read", "rtsp://host:port/path") from error
    if parts.scheme.lower() not in SCHEMES:
        raise InputError(
            shown, f"expected one of {', '.join(SCHEMES)}", "or give a file, a folder, a camera's number"
        )
    if not host or port == 0:
        raise InputError(shown, "names no host and port", "rtsp://host:port/path")
    return parts


def place(parts: SplitResult) -> tuple[str, int]:
    """Host and port of an address, the scheme's own port where none is given."""
    return (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme.lower(), 0)


def same_host(here: str, there: str) -> bool:
    """Whether ``there``, possibly relative to ``here``, is on the same host, and no less protected than ``here``."""
    try:
        a, b = urlsplit(here), urlsplit(urljoin(here, there) if not is_address(there) else there)
        weaker = a.scheme.lower() in ("rtsps", "https") and b.scheme.lower() not in ("rtsps", "https")
        return a.hostname == b.hostname and b.scheme.lower() in SCHEMES and not weaker
    except ValueError:
        return False


def look_before(url: str, timeout: float = 5.0) -> None:
    """Ask an RTSP server to DESCRIBE ``url`` and raise where it refuses or sends its readers to another host.

    FFmpeg follows redirects by itself, to anywhere; so it is only let loose on a server that has just answered without
    one. The user name and password in the address are used as Basic or Digest, as asked.

    Raises:
        MediaError: no connection, no answer in time, a refusal (401, 404, …), or a redirect to another host.
    """
    parts = checked(url)
    shown = masked(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        with _connected(parts, timeout) as line:
            status, headers = _describe(line, bare, 1, "")
            asked = headers.get("www-authenticate", [])
            if status == 401 and parts.username is not None and asked:
                status, headers = _describe(line, bare, 2, _credentials(parts, bare, asked))
    except TimeoutError as error:
        raise MediaError(shown, f"gave no answer within {timeout:g} s", "is the camera on?") from error
    except (OSError, ValueError) as error:
        raise MediaError(shown, f"cannot be reached: {masked(str(error))}", "is the camera on?") from error
    if 300 <= status < 400:
        to = next(iter(headers.get("location", [])), "")
        if not same_host(url, to):
            raise MediaError(
                shown, f"sends its readers to {masked(to) or 'nowhere'}", "name that address yourself"
            )
    elif status in (401, 403):
        raise MediaError(
            shown, f"refuses the user name and password ({status})", "put the right ones into the address"
        )
    elif status >= 400:
        raise MediaError(shown, f"answers {status}", "check the path behind the host")


def _connected(parts: SplitResult, timeout: float) -> socket.socket:
    line = socket.create_connection(place(parts), timeout=timeout)
    if parts.scheme.lower() != "rtsps":
        return line
    # Cameras sign their own certificates; FFmpeg, which reads the stream, checks none either.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(line, server_hostname=parts.hostname)


def _describe(
    line: socket.socket, url: str, number: int, credentials: str
) -> tuple[int, dict[str, list[str]]]:
    """Status and headers (names in small letters) of the answer to one DESCRIBE."""
    head = [f"DESCRIBE {url} RTSP/1.0", f"CSeq: {number}", "Accept: application/sdp", "User-Agent: oddwatch"]
    if credentials:
        head.append(f"Authorization: {credentials}")
    line.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
    data = b""
    while b"\r\n\r\n" not in data:
        piece = line.recv(4096)
        if not piece or len(data) > _LARGEST:
            raise ValueError("the answer is not RTSP")
        data += piece
    top, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    answered = re.match(r"RTSP/\d\.\d (\d{3})", first)
    if not answered:
        raise ValueError("the answer is not RTSP")
    headers: dict[str, list[str]] = {}
    for text in lines:
        name, _, value = text.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    left = min(int((headers.get("content-length") or ["0"])[0] or 0), _LARGEST) - len(rest)
    while left > 0:
        piece = line.recv(min(left, 4096))
        if not piece:
            break
        left -= len(piece)
    return int(answered[1]), headers


def _credentials(parts: SplitResult, url: str, asked: list[str]) -> str:
    """The Authorization header that answers ``asked``: Digest (RFC 2617, MD5) where offered, else Basic."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    digest = next((a for a in asked if a.lower().startswith("digest")), None)
    if digest is None:
        return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    told = {k.lower(): v for k, v in re.findall(r'(\w+)="([^"]*)"', digest)}
    realm, nonce = told.get("realm", ""), told.get("nonce", "")
    one, two = _md5(f"{user}:{realm}:{password}"), _md5(f"DESCRIBE:{url}")
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": url}
    extra = ""
    if "auth" in told.get("qop", ""):
        own = secrets.token_hex(8)
        fields |= {"response": _md5(f"{one}:{nonce}:00000001:{own}:auth:{two}"), "cnonce": own}
        extra = ", qop=auth, nc=00000001"
    else:
        fields["response"] = _md5(f"{one}:{nonce}:{two}")
    return "Digest " + ", ".join(f'{k}="{v}"' for k, v in fields.items()) + extra


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
