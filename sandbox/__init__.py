"""The outside world on one laptop: stand-ins, real servers where a package brings them, and Airflow itself."""
