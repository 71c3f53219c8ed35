"""Git repositories over HTTP, by the git command line.

Fence: a push is a compare-and-swap of the branch; the edit is applied anew to what stands there, never forced.
"""
