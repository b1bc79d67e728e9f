"""What administrators do by the API: one module a noun, each of which gives operations for the one table.

All of it needs the scope `admin:read` or `admin:write`, and an account that is an administrator's when the
call is made. What could lock its own caller out is refused, and says who can do it instead.
"""
