"""Threads of our own for calls back into Airflow's REST.

The pages and hooks run inside the API server whose REST they call. In the server's shared thread pool (40 threads),
forty pages that wait for REST answers would leave no thread to give them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

PAGES = ThreadPoolExecutor(max_workers=8, thread_name_prefix="platform-ops-pages")
HOOKS = ThreadPoolExecutor(max_workers=4, thread_name_prefix="platform-ops-hooks")


async def run_in(pool: ThreadPoolExecutor, call: Callable[[], Result]) -> Result:
    """Run a blocking call in a pool and wait for it."""
    return await asyncio.get_running_loop().run_in_executor(pool, call)
