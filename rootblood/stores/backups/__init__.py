"""Backups on a disk: manifests in a directory, and their parts as files, or kept there by restic or borg."""
