"""The client of Google Cloud Storage: how long it waits, what it repeats, whom it trusts.

Here: Google's client, configured on purpose. Not here: any request but the one for the time. Credentials are found as
Google's libraries find them (application default credentials), at the first request, since looking for them may ask the
machine's metadata service.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import google.auth
from google.api_core.exceptions import from_http_response
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from compliance_pipelines.object_store.endpoints import check_endpoint, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.auth.credentials import Credentials

GOOGLE: Final = "https://storage.googleapis.com"
# What the settings of a bucket and the rights on it are read with; rights are given by IAM, not by scopes.
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.full_control"
_CONNECT_SECONDS: Final = 5
_CONNECTIONS: Final = 16
_LONGEST_WAIT_SECONDS: Final = 30.0
_OK: Final = 200

# Of Google's libraries, which have no types.
_anonymous: Callable[[], Any] = AnonymousCredentials
_session_of: Callable[[Any], Any] = AuthorizedSession
_error_of: Callable[[Any], Exception] = from_http_response


@dataclass(frozen=True)
class GcsEndpoint:
    """Which service, and how it is spoken to.

    Attributes:
        project: in which a bucket is made; None: that of the credentials.
        url: of a service that is not Google's; None: Google's. One without TLS is on this machine, and is shown no
            credentials.
        ca_file: certificates (PEM) that the service's is checked against; None: the system's.
        timeout_seconds: how long an answer may take before the request is repeated; it is repeated for twice as long.
        first_wait_seconds: before it is repeated for the first time; then twice as long each time.
    """

    project: str | None = None
    url: str | None = None
    ca_file: Path | None = None
    timeout_seconds: int = 60
    first_wait_seconds: float = 1.0

    def open(self, credentials: Credentials | None = None) -> GcsService:
        """The service. Nothing is asked by opening it.

        Args:
            credentials: of Google's library; None: as it finds them.

        Raises:
            ConfigurationError: the endpoint is no URL, or has no TLS and is not on this machine; or there is no such
                file of certificates.
        """
        check_endpoint(self.url, self.ca_file)
        return GcsService(self, credentials)


class GcsService:
    """A service that is asked at the first request.

    Every request of this project is safe to be repeated: what is written has the generation that must be there, and
    reading, deleting a generation and asking change nothing the second time.
    """

    def __init__(self, endpoint: GcsEndpoint, credentials: Credentials | None = None) -> None:
        self.endpoint: Final = endpoint
        self._credentials = credentials
        self._url: Final = (endpoint.url or GOOGLE).rstrip("/")
        retry = DEFAULT_RETRY.with_delay(
            initial=endpoint.first_wait_seconds, maximum=_LONGEST_WAIT_SECONDS, multiplier=2.0
        )
        self._retry = retry.with_timeout(2.0 * endpoint.timeout_seconds)

    @cached_property
    def _session_and_project(self) -> tuple[Any, str | None]:
        credentials, project = self._credentials, self.endpoint.project
        if credentials is None and self.endpoint.url is not None and is_plain(self.endpoint.url):
            credentials = _anonymous()
        if credentials is None:
            credentials, found = google.auth.default(scopes=[_SCOPE])
            project = project or found
        session = _session_of(credentials)
        session.mount("https://", HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
        session.mount("http://", HTTPAdapter(pool_connections=_CONNECTIONS, pool_maxsize=_CONNECTIONS))
        if self.endpoint.ca_file is not None:
            # Said with each request: REQUESTS_CA_BUNDLE would win over what the session has.
            session.request = partial(session.request, verify=str(self.endpoint.ca_file))
        return session, project

    @cached_property
    def client(self) -> storage.Client:
        """Google's client.

        Raises:
            GoogleAuthError: there are no credentials.
        """
        session, project = self._session_and_project
        # The endpoint is always said: STORAGE_EMULATOR_HOST would lead elsewhere, and nobody would notice.
        client = storage.Client(
            project=project, credentials=session.credentials, _http=session, client_options={"api_endpoint": self._url}
        )
        # A thread of the library's would ask for the bucket's settings, for the sake of traces that nobody takes: a
        # request that has none of our patience, and a refusal in the service's log where the right is missing.
        client._bucket_metadata_cache = None  # noqa: SLF001 - there is an environment variable for it, and no argument
        return client

    @property
    def waiting(self) -> dict[str, Any]:
        """What each call of the client is given: how long an answer may take, and what is repeated."""
        return {"timeout": (_CONNECT_SECONDS, self.endpoint.timeout_seconds), "retry": self._retry}

    def said_time(self, bucket: str) -> str:
        """The `Date` header of an answer about a bucket.

        Raises:
            GoogleAPIError: the service refuses or fails; so do requests' and google-auth's errors say.
        """
        session, _ = self._session_and_project

        def ask() -> str:
            answer = session.get(
                f"{self._url}/storage/v1/b/{quote(bucket, safe='')}/o",
                params={"maxResults": 1, "fields": "kind"},
                timeout=self.waiting["timeout"],
            )
            if answer.status_code != _OK:
                raise _error_of(answer)
            return str(answer.headers.get("Date", ""))

        asked: str = self._retry(ask)()
        return asked
