"""What Airflow calls the DAGs of the backups, for those who look for them there."""

from __future__ import annotations

from datetime import timedelta

BACK_UP = "back_up_sources"
DRILL = "drill_restores"
REPORT = "report_backups"
WRITE_REPORT = "write_report"
RESTORE = "restore_backup"
GATE = "approve_restore"
CHOOSE = "choose_sources"
PLAN = "plan_restore"

RESTORE_QUEUE = "restores"
"""Where tasks run that open points: only workers of this queue have the private key, and the folders to restore to."""

LONGEST_STEP = timedelta(hours=12)
"""After this a copy, a verification or a restore is given up: one that hangs would keep every later run waiting."""
