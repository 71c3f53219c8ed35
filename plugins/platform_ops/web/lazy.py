"""An ASGI callable that imports the real app when the first request arrives.

Airflow executes ``plugin.py`` in every task process; importing FastAPI and Airflow's API there would cost each
task about two seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cached_property
from importlib import import_module
from typing import Any, cast

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class LazyApp:
    """Stands for an app named ``module:attribute``; a failing import fails every request, so nothing is served."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def _app(self) -> AsgiApp:
        module, _, attribute = self._path.partition(":")
        return cast("AsgiApp", getattr(import_module(module), attribute))

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Hand the request on."""
        await self._app(scope, receive, send)
