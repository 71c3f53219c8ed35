"""Jenkins: builds of a source tree.

Fence: starts with equal parameters (TREE, COMMIT, ATTEMPT) merge into one queue item while it has not left the queue,
which the job's quiet period keeps it from for a few seconds. Between builds that came about all the same the claim tag
in Harbor decides: each pushes a tag of its own, the first to be claimed is the tree's image.
"""
