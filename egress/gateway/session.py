"""Speak with the control plane under a credential that renews itself by enrolling."""

import logging
import random
import threading
from http import HTTPStatus
from typing import TypeVar

from egress import __version__
from egress.wire.http import ControlPlane, ControlPlaneError, Refused
from egress.wire.messages import GatewayEnrol, GatewayEnrolled
from egress.wire.tokens import Tokens

from .config import Config
from .state import Store

T = TypeVar("T")

log = logging.getLogger(__name__)


class Backoff:
    """Growing pauses between attempts that fail, with jitter so that a fleet doesn't come back in step."""

    def __init__(self, *, first_seconds: float = 0.5, most_seconds: float = 30) -> None:
        self._first_seconds = first_seconds
        self._most_seconds = most_seconds
        self._next_seconds = first_seconds

    def reset(self) -> None:
        """Start again from the shortest pause."""
        self._next_seconds = self._first_seconds

    def next_seconds(self) -> float:
        """Return how long to wait now; the next answer is up to twice as long."""
        pause = self._next_seconds
        self._next_seconds = min(self._most_seconds, pause * 2)
        return pause * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing


class Credential:
    """The gateway's own token, shared by its connections.

    The control plane offers another from time to time; enrolment gives a new one at any time in the window.
    """

    def __init__(self, config: Config, store: Store, boot_id: str) -> None:
        self._config = config
        self._store = store
        self._boot_id = boot_id
        self._lock = threading.Lock()
        self._tokens = store.credential()
        #: The token in use was refused, and the one before it is being tried.
        self._swapped = False
        self._had = threading.Event()
        if self._tokens:
            self._had.set()

    def wait(self) -> None:
        """Return once there is a token, for those who have nothing to say before."""
        self._had.wait()

    def current(self) -> str:
        """Return the token; without one, enrol. Raises ControlPlaneError, or Refused while no window is open."""
        with self._lock:
            return self._tokens.token if self._tokens else self._enrol()

    def renew(self, refused: str) -> str:
        """Return a token other than `refused`, which stays in use when enrolment is refused as well."""
        with self._lock:
            if self._tokens and self._tokens.token != refused:
                return self._tokens.token
            if self._tokens and self._tokens.previous and not self._swapped:
                self._tokens, self._swapped = self._tokens.swapped(), True
                return self._tokens.token
            self._swapped = False
            log.warning("the control plane refuses this gateway's credential: enrolling again")
            return self._enrol()

    def follow(self, token: str) -> None:
        """Use `token`, which the control plane offers, once it is on disk: its first use makes the old one void."""
        with self._lock:
            if self._tokens is None:
                return
            tokens = self._tokens.followed_by(token)
            try:
                self._store.save_credential(tokens)
            except OSError as error:
                log.warning("the new credential can't be saved, so the old one stays in use: %s", error)
                return
            self._tokens, self._swapped = tokens, False
            log.info("going on with a new credential")

    def _enrol(self) -> str:
        plane = connect(self._config, self._config.enrolment_secret)
        request = GatewayEnrol(gateway_id=self._config.gateway_id, boot_id=self._boot_id, agent_version=__version__)
        try:
            enrolled = plane.call("gateways/enrol", request, GatewayEnrolled)
        finally:
            plane.close()
        self._tokens = Tokens(token=enrolled.token)
        self._had.set()
        try:
            self._store.save_credential(self._tokens)
        except OSError as error:
            log.warning("the credential can't be saved; a restart will have to enrol again: %s", error)
        log.info("enrolled as gateway %s", self._config.gateway_id)
        return enrolled.token


class Channel:
    """One thread's connection to the control plane. Every call on it may be made twice."""

    def __init__(self, config: Config, credential: Credential) -> None:
        self._credential = credential
        self._plane = connect(config, "")

    def call(self, verb: str, message: object, reply: type[T], *, timeout_seconds: float) -> T:
        """Call `verb`; a credential that is refused is renewed by enrolling, once.

        Raises ControlPlaneError, and Refused for a clear no.
        """
        self._plane.token = self._credential.current()
        try:
            return self._plane.call(verb, message, reply, timeout_seconds=timeout_seconds)
        except Refused as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
            self._plane.token = self._credential.renew(self._plane.token)
            return self._plane.call(verb, message, reply, timeout_seconds=timeout_seconds)


def connect(config: Config, token: str) -> ControlPlane:
    """Return a connection to the control plane of `config`."""
    return ControlPlane(config.control_plane_url, token=token, ca_file=config.ca_file or None)


def explain(error: ControlPlaneError) -> str:
    """Say what a failed call means for this gateway."""
    if isinstance(error, Refused) and error.code == "window_closed":
        return f"{error}: enrolment is closed; ask the control plane to repair or rebuild this gateway"
    return str(error)
