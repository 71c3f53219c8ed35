"""PostgreSQL, read by its own client programs and put back into a cluster of our own."""
