"""Airflow keeps its files out of the home of whoever runs the tests."""

import os
import tempfile

# Before the first import of airflow, which reads it once.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="platform-ops-tests-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
