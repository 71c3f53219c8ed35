"""Names that other files than the DAG's own need."""

CHECK_CONNECTIONS = "check_connections"
"""The DAG that asks every system for the address, the credential and each permission."""
