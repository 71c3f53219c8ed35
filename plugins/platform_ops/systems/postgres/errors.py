"""Errors of the PostgreSQL room.

ProgramMissing (NotFound)          a program of PostgreSQL is not where this task runs
DatabaseMissing (NotFound)         the server has no such database
LoginRefused (AuthenticationFailed) the server does not let the account in, or does not let it read
ServerGone (Unreachable)           the server does not answer, or ended while it was read
ProgramFailed (FailNow)            a program of PostgreSQL said no
├── ClusterFailed                  a cluster of our own could not be made or started
QueryFailed (Invalid)              the server does not take a query
BadConnection (Invalid)            the connection says something that can't be
"""

from __future__ import annotations

from platform_ops.common.errors import AuthenticationFailed, FailNow, Invalid, NotFound, Unreachable


class ProgramMissing(NotFound):
    """A program of PostgreSQL is not where this task runs."""


class DatabaseMissing(NotFound):
    """The server has no such database."""


class LoginRefused(AuthenticationFailed):
    """The server does not let the account in, or does not let it read."""


class ServerGone(Unreachable):
    """The server does not answer, or ended while it was read."""


class ProgramFailed(FailNow):
    """A program of PostgreSQL said no."""


class ClusterFailed(ProgramFailed):
    """A cluster of our own could not be made or started."""


class QueryFailed(Invalid):
    """The server does not take a query."""


class BadConnection(Invalid):
    """The connection says something that can't be."""
