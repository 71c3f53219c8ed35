"""What Airflow calls the DAGs of the backups, for those who look for them there."""

from __future__ import annotations

REPORT = "report_backups"
WRITE_REPORT = "write_report"
RESTORE = "restore_backup"
GATE = "approve_restore"
