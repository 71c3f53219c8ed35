"""Airflow keeps its files out of the home of whoever runs the tests."""

import os
import tempfile

from hypothesis import HealthCheck, settings

# Before the first import of airflow, which reads it once.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="platform-ops-tests-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# No test fails because the machine is busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
