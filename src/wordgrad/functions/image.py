"""Images as values: sent to models that can see, never trained."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import socket
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import anyio.to_thread

from wordgrad.core.value import Opaque
from wordgrad.errors import UsageError
from wordgrad.types import ImageData

MAX_BYTES = 20_000_000
"""The largest image that is sent; the common limit of vision APIs."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_TIMEOUT_S = 20.0
_MAX_REDIRECTS = 5


class Image(Opaque):
    """An image, read or fetched when it is first sent.

    Args:
        source: Bytes; a `Path`; base64 text or a `data:` URL; or an http(s) URL. A plain str is never a path, so
            data that look like one cannot open a file.
        allow_private: Whether a URL may lead to a loopback or private address.

    Raises:
        UsageError: The text is none of these.
    """

    def __init__(self, source: bytes | Path | str, *, allow_private: bool = False) -> None:
        self._source = source
        self._allow_private = allow_private
        self._loaded: ImageData | None = None
        if isinstance(source, str) and not source.startswith(("http://", "https://")):
            self._loaded = _checked(_decoded(source), "the given text")
        elif isinstance(source, bytes):
            self._loaded = _checked(source, "the given bytes")
        self._text_form = f"[image at {source!s}]" if self._loaded is None else _described(self._loaded)

    def text_form(self) -> str:
        """Where it comes from, or what was given ("[image/png, 1234 bytes, …]"); loading it changes nothing here."""
        return self._text_form

    async def load(self) -> ImageData:
        """The image's bytes, at most `MAX_BYTES` of them.

        Raises:
            UsageError: It cannot be read, is too large, is no PNG, JPEG, GIF or WebP, or its address is private.
        """
        if self._loaded is None:
            if isinstance(self._source, Path):
                data = await anyio.to_thread.run_sync(_read, self._source)
            else:
                data = await self._fetch(str(self._source))
            self._loaded = _checked(data, str(self._source))
        return self._loaded

    async def _fetch(self, url: str) -> bytes:
        import httpx2  # noqa: PLC0415 - not needed before an image is fetched

        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            for _ in range(_MAX_REDIRECTS + 1):
                address = await anyio.to_thread.run_sync(self._address_of, url)
                # To the address that was checked: a second look-up of the name could lead elsewhere.
                asked = httpx2.URL(url)
                headers = {"Host": asked.netloc.decode("ascii")}
                named = {"sni_hostname": asked.raw_host.decode("ascii")}
                there = asked.copy_with(host=address)
                try:
                    async with client.stream("GET", there, headers=headers, extensions=named) as response:
                        if response.is_redirect:
                            url = urljoin(url, response.headers["location"])
                            continue
                        response.raise_for_status()
                        data = bytearray()
                        async for chunk in response.aiter_bytes():
                            data += chunk
                            if len(data) > MAX_BYTES:
                                raise UsageError(f"the image at {url} is larger than {MAX_BYTES} bytes")
                        return bytes(data)
                except httpx2.HTTPError as error:
                    raise UsageError(f"the image at {url} could not be fetched: {error}") from error
        raise UsageError(f"the image at {self._source!s} redirects more than {_MAX_REDIRECTS} times")

    def _address_of(self, url: str) -> str:
        """Where the host of an http(s) URL is, all of whose addresses must be public."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"an image is fetched over http or https only, not from {url!r}")
        try:
            found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
        except OSError as error:
            raise UsageError(f"the host of the image {url} is not known: {error}") from error
        addresses = [str(each[4][0]) for each in found]
        private = [each for each in addresses if not ipaddress.ip_address(each).is_global]
        if private and not self._allow_private:
            raise UsageError(
                f"the image {url} leads to the private address {private[0]}; pass allow_private=True if that is meant"
            )
        return addresses[0]


def _described(image: ImageData) -> str:
    digest = hashlib.sha256(image.data).hexdigest()[:12]
    return f"[{image.media_type}, {len(image.data)} bytes, sha256 {digest}]"


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"the image {path} is larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the image {path} cannot be read: {error.strerror}") from error


def _decoded(text: str) -> bytes:
    encoded = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(
            f"{text[:40]!r} is neither an http(s) URL nor base64 text; for a file pass wordgrad.Image(pathlib.Path(…))"
        ) from error


def _checked(data: bytes, source: str) -> ImageData:
    if len(data) > MAX_BYTES:
        raise UsageError(f"the image from {source} is larger than {MAX_BYTES} bytes")
    for signature, media_type in _SIGNATURES.items():
        if data.startswith(signature):
            return ImageData(media_type, data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageData("image/webp", data)
    raise UsageError(f"what came from {source} is no PNG, JPEG, GIF or WebP image")
