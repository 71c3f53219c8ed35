"""PostgreSQL, read by its own client programs and put back into a cluster of our own.

Fence: nothing is changed at a server; a cluster of our own has its folder and its socket to itself.
"""
