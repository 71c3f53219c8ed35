"""The only file Airflow scans: it registers the web room.

It runs in every task process, so it imports next to nothing.
"""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from platform_ops.web.lazy import LazyApp


class PlatformOps(AirflowPlugin):
    """The run page, the lists of releases and backups, and the webhook receiver."""

    name = "platform_ops"
    fastapi_apps = [  # noqa: RUF012 - Airflow's base class declares plain lists
        {"app": LazyApp("platform_ops.web.app:app"), "url_prefix": "/platform-ops", "name": "platform-ops"}
    ]
    # Airflow shows the page in a frame with the sandbox "allow-scripts allow-same-origin allow-forms allow-downloads":
    # no pop-ups and no navigation of the window around it. embedded=1 therefore shows the page's own address as
    # text, and its links carry target=_blank: a plain click does nothing instead of losing the page to a site that
    # refuses to be framed, while the browser's own "open in new tab" works.
    external_views = [  # noqa: RUF012
        {
            "name": "Release",
            "href": "/platform-ops/runs/{DAG_ID}/{RUN_ID}?embedded=1",
            "destination": "dag_run",
            "url_route": "release",
        },
        {
            "name": "Backups",
            "href": "/platform-ops/backups?embedded=1",
            "destination": "nav",
            "url_route": "platform-ops-backups",
            # Else it hides in the menu of plugins.
            "nav_top_level": True,
        },
    ]
