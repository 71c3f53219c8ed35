"""Backups that end in a restore: what is copied, how it is kept, when it is proven."""
