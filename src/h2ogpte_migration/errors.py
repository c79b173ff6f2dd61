"""The families of errors that people may see, and the exit codes.

Whatever is raised and is none of these is a bug, and ``app`` says so.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Optional, Sequence, Tuple


class ExitCode(IntEnum):
    """What the command answers to its caller (documented in the README)."""

    OK = 0  # all that was asked for is done, or running as it should
    ATTENTION = 1  # something failed, was held back, not found or not checked
    USAGE = 2  # usage or configuration
    HUNG_UP = 129  # SIGHUP: the terminal was closed
    INTERRUPTED = 130  # Ctrl-C
    TERMINATED = 143  # SIGTERM


class ToolError(Exception):
    """An error for people: what happened, and what to do next.

    Args:
        message: what happened, to what, and what it means.
        hint: what to type or to change next; may be empty.
        exit_code: what the command answers when this ends the run.
    """

    def __init__(
        self, message: str, hint: str = "", exit_code: ExitCode = ExitCode.ATTENTION
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(ToolError):
    """Mistakes of a command line or its configuration, all of them at once (exit 2)."""

    def __init__(self, mistakes: Sequence[str]) -> None:
        super().__init__("\n".join(mistakes), exit_code=ExitCode.USAGE)
        self.mistakes: Tuple[str, ...] = tuple(mistakes)


class Interrupted(ToolError):
    """The user asked to stop; nothing new may be started. Not a failure of a collection."""


class TrackingError(ToolError):
    """The tracking database can't be used as it is."""


class LeaseLost(TrackingError):
    """Another process took the collection over; this one must not touch it any more."""


class StepFailed(ToolError):
    """A step of one collection ended in a way that stops this collection for now.

    Args:
        way_out: the flags, with their values, that help where the same command does not.
    """

    def __init__(
        self, message: str, hint: str = "", kind: str = "", way_out: Sequence[str] = ()
    ) -> None:
        super().__init__(message, hint)
        self.kind = kind or "step"
        self.way_out = tuple(way_out)


class ServerError(ToolError):
    """The server, or the way to it, refused or failed.

    Args:
        message: for people, with the server's own words already made harmless.
        status: the HTTP status, if there was one.
        route: the operation's method and path template, e.g. ``GET /jobs/{job_id}``.
    """

    def __init__(
        self, message: str, *, status: Optional[int] = None, route: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.route = route

    @property
    def kind(self) -> str:
        """The sort of failure, free of ids: what the circuit breaker compares."""
        return f"{type(self).__name__} {self.status or ''} {self.route}".strip()


class Unauthorized(ServerError):
    """401: the key is not, or no longer, valid. Nothing was done."""


class NotFound(ServerError):
    """404: what the request names does not exist. Nothing was done."""


class Rejected(ServerError):
    """Any other 4xx (or a redirect): the server refused. Nothing was done."""


class Forbidden(Rejected):
    """401 to a key that is good: this one thing is not allowed. Nothing was done."""


class OwnerGone(ServerError):
    """The owner's account does not exist any more, and with it nobody who could go on."""


class Conflict(Rejected):
    """409: the state is not what the request assumes; read again."""


class Unavailable(ServerError):
    """The server could not be reached or kept failing, after all retries.

    Raised only where the request may be repeated or surely did nothing.
    """


class TlsRefused(ServerError):
    """The server's certificate is not trusted; nothing was sent."""


class ClientUnusable(ServerError):
    """The client package, which one kind of request needs, is missing or unusable.

    Nothing was sent.
    """


class BadReply(ServerError):
    """An answer that is not what the contract says (HTML, cut JSON, a wrong shape)."""


class OutcomeUnknown(ServerError):
    """No usable answer came to a request that must not be repeated blindly.

    Args:
        timed_out: whether the answer was waited for in vain (it may come to effect late).
    """

    def __init__(
        self,
        message: str,
        *,
        status: Optional[int] = None,
        route: str = "",
        timed_out: bool = False,
    ) -> None:
        super().__init__(message, status=status, route=route)
        self.timed_out = timed_out
