"""Everything the DAGs do, by area and by system; ``docs/architecture.md`` shows the layers."""
