"""Rows in an SQL database: SQLite now; nothing here forbids PostgreSQL."""
