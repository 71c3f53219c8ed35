"""The run page inside Airflow's UI and the receiver of GitLab's webhooks."""
