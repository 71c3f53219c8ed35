"""Buckets of any S3 store.

Fence: a document is written with If-None-Match, so of two writers of one key exactly one succeeds.
"""
