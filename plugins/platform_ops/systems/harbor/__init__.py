"""Images and their scans in Harbor, by its REST API v2.0.

Fence: a tag name exists once per repository, so the first of two equal claims wins and the other reads who won;
a scan that runs refuses a second one.
"""
