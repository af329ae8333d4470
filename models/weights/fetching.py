"""Files from the network: mirrors, retries after growing waits, limits on silence and size, errors in a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import requests

GDRIVE = "gdrive:"  # then the file's id
TORCHVISION = "torchvision:"  # then the weights' name there; the installed torchvision knows the address
_CHUNK = 2**18


class FetchError(RuntimeError):
    """A file that cannot be had: one sentence. ``passing``: another attempt may succeed."""

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@runtime_checkable
class Observer(Protocol):
    """An observer, which is told how far a download is."""

    def at(self, received: int, total: int | None) -> None:
        """Note that so many bytes are here, of ``total`` where that is known. What this raises ends the download."""

    def say(self, message: str) -> None:
        """Say something that a person should know."""


@dataclass(frozen=True)
class FetchSettings:
    """Settings of a download: how often, how long and how much."""

    attempts: int = 4
    backoff_s: float = 1.0  # before the second attempt; doubled before each further one
    timeout_s: float = 30.0  # without a byte
    max_bytes: int = 2**36


def fetch(
    urls: Sequence[str], target: Path, accept: Callable[[Path], None], observer: Observer, settings: FetchSettings
) -> str:
    """Fetch a file to ``target``, in a folder of the caller's own, from the first address that has it.

    Args:
        urls: http(s) addresses, ``gdrive:`` and a file's id, or ``torchvision:`` and the name of weights.
        target: where to; after an error there may be anything.
        accept: raises FetchError where what came is not the wanted file.
        observer: is told how far it is.
        settings: how patient to be.

    Returns:
        The address.

    Raises:
        FetchError: no address has it; the sentence says why.
        OSError: it cannot be written.
    """
    problems = []
    for given in urls:
        try:
            url = resolve(given)
            _with_retries(url, target, observer, settings)
            accept(target)
        except FetchError as error:
            problems.append(str(error))
            if len(problems) < len(urls):
                observer.say(f"{error}; trying the next address")
        else:
            return url
    raise FetchError("; ".join(problems))


def resolve(url: str) -> str:
    """The address that a ``torchvision:`` name stands for; any other as it is. Raises FetchError at an unknown name."""
    if not url.startswith(TORCHVISION):
        return url
    name = url.removeprefix(TORCHVISION)
    try:
        from torchvision.models import get_weight  # it is slow to import
    except ImportError as error:
        raise FetchError(f"torchvision, which knows where {name} lies, cannot be imported: {error}") from None
    try:
        address: str = get_weight(name).url
    except (ValueError, KeyError):
        raise FetchError(f"the installed torchvision has no weights {name}") from None
    return address


def gdrive_download(
    file_id: str, target: Path, progress: Callable[[int, int | None], None], settings: FetchSettings
) -> None:
    """Let gdown fetch a file from Google Drive; it retries a broken transfer itself, from where it broke."""
    import gdown

    gdown.download(
        id=file_id,
        output=str(target),
        quiet=True,
        use_cookies=False,
        progress=progress,
        timeout=settings.timeout_s,
        retries=settings.attempts - 1,
    )


def _with_retries(url: str, target: Path, observer: Observer, settings: FetchSettings) -> None:
    for attempt in range(1, settings.attempts + 1):
        try:
            if url.startswith(GDRIVE):
                _from_gdrive(url, target, observer, settings)
            else:
                _from_http(url, target, observer, settings)
            return
        except FetchError as error:
            if not error.passing:
                raise
            if attempt == settings.attempts:
                raise FetchError(f"{error} ({attempt} attempts)") from None
            wait = settings.backoff_s * 2 ** (attempt - 1)
            observer.say(f"{error}; attempt {attempt + 1} of {settings.attempts} follows in {wait:g} s")
            time.sleep(wait)


def _from_http(url: str, target: Path, observer: Observer, settings: FetchSettings) -> None:
    import requests
    from pooch import HTTPDownloader  # type: ignore[import-untyped]

    with ExitStack() as stack:

        def opened(response: requests.Response, **rest: Any) -> None:
            stack.callback(response.close)  # pooch leaves it open where something is raised

        download = HTTPDownloader(
            progressbar=_Meter(observer, settings.max_bytes),
            chunk_size=_CHUNK,
            timeout=settings.timeout_s,
            headers={"Accept-Encoding": "identity"},  # the hash is that of the file itself
            hooks={"response": opened},
        )
        try:
            download(url, str(target), None)
        except requests.RequestException as error:
            raise _explained(error, url, settings) from None
        except ValueError as error:  # a header that is no number
            raise FetchError(f"{url} sent an answer that makes no sense: {error}") from None


def _from_gdrive(url: str, target: Path, observer: Observer, settings: FetchSettings) -> None:
    import gdown
    import requests

    file_id = url.removeprefix(GDRIVE)
    page = f"https://drive.google.com/file/d/{file_id}/view"

    def progress(received: int, total: int | None) -> None:
        _check_size(max(received, total or 0), settings.max_bytes)
        observer.at(received, total)

    try:
        gdrive_download(file_id, target, progress, settings)
    except requests.RequestException as error:
        raise _explained(error, page, settings) from None
    except (FetchError, OSError):
        raise
    except Exception as error:  # gdown reads pages that Google may change: then it raises nearly any type
        if isinstance(error, gdown.FileURLRetrievalError):
            reason = "it is not shared, or too many asked for it today"
        elif isinstance(error.__cause__, requests.RequestException):  # after gdown's own retries
            reason = str(_explained(error.__cause__, page, settings))
        else:
            reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise FetchError(
            f"Google Drive does not give file {file_id}: {reason}; try later, or fetch {page} in a browser, unpack "
            "the weights and give their path as checkpoint"
        ) from None


class _Meter:
    """A meter that pooch takes for its progress bar."""

    def __init__(self, observer: Observer, max_bytes: int) -> None:
        self.total = 0  # pooch sets it; 0: unknown
        self._received, self._observer, self._max_bytes = 0, observer, max_bytes

    def update(self, size: int) -> None:
        """Take note of a chunk; the last one may be shorter than ``size``."""
        self._received += size
        _check_size(max(self._received - _CHUNK, self.total), self._max_bytes)
        received = min(self._received, self.total) if self.total else self._received
        if received:
            self._observer.at(received, self.total or None)

    def reset(self) -> None:
        """Forget what came: pooch adds the total once more at the end."""
        self._received = 0

    def close(self) -> None:
        """Do nothing, as there is nothing to close."""


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise FetchError(f"the file is larger than {max_bytes} bytes, the most that is taken")


def _explained(error: requests.RequestException, url: str, settings: FetchSettings) -> FetchError:
    """An error of requests, whose own words are long, as a sentence."""
    import requests
    from urllib3.exceptions import ReadTimeoutError

    host = urlsplit(url).netloc
    if isinstance(error, requests.HTTPError) and error.response is not None:
        code = error.response.status_code
        return FetchError(f"{url} answers {code} {error.response.reason}", passing=code >= 500 or code in (408, 429))
    if isinstance(error, requests.exceptions.SSLError):
        return FetchError(f"the certificate of {host} is not valid here")
    silent = isinstance(error, requests.Timeout) or any(isinstance(cause, ReadTimeoutError) for cause in error.args)
    if silent:  # before requests.ConnectionError, which some of these are
        return FetchError(f"{host} sent nothing for {settings.timeout_s:g} s", passing=True)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return FetchError(f"{host} broke off before the file was complete", passing=True)
    if isinstance(error, requests.ConnectionError):
        return FetchError(f"{host} cannot be reached", passing=True)
    return FetchError(f"{url} cannot be fetched ({type(error).__name__})")
