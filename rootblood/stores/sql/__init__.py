"""Rows in an SQL database: SQLite, or PostgreSQL where several servers share it."""
