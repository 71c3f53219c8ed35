"""Imports, once in a long-lived process, what every task would import again.

Airflow reads this file (its folder is on PYTHONPATH) whenever one of its processes starts. Tasks are forks of the
scheduler and DAG files are parsed in forks of the DAG processor: what these two have imported, their forks have for
nothing. Without it the Kubernetes client alone costs each task 1.5 s. The other processes and the command line gain
nothing, so they are spared. Where another executor runs the tasks, its worker's command belongs beside "scheduler".

Listed is what our tasks import, and nothing that opens connections or starts threads: neither survives a fork.
"""  # noqa: INP001

import sys
from importlib import import_module

# Airflow would copy every other name of this module into its own settings.
__all__: list[str] = []

PREWARMED = (
    "airflow.providers.standard.operators.hitl",
    "airflow.sdk.definitions.decorators",
    "airflow.sdk.definitions.timetables.trigger",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.serialization.definitions.assets",
    "croniter",
    "gitlab.v4.objects",
    "httpx",
    "jinja2.ext",
    "jsonschema",
    "kubernetes.client",
    "minio",
    "platform_ops.approvals.gate",
    "platform_ops.backups.drill_steps",
    "platform_ops.backups.restore_steps",
    "platform_ops.backups.steps",
    "platform_ops.common.dag_defaults",
    "platform_ops.common.operators",
    "platform_ops.delivery.gates",
    "platform_ops.delivery.steps",
    "platform_ops.delivery.teardowns",
    "platform_ops.delivery.work",
    "platform_ops.upkeep.close_steps",
    "platform_ops.upkeep.check_steps",
    "pyrage",
    "ruamel.yaml",
    "zstandard",
)

if {"scheduler", "dag-processor"} & set(sys.argv):
    for name in PREWARMED:
        import_module(name)
