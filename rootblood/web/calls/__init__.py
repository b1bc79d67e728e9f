"""What the environment's own command, `rb`, asks for: one request a connection, answered in plain text.

Nobody logs in here: a call comes out of an environment, and the link it comes by tells whose. So any program
of the account's may make it, and what could be somebody else's doing is refused: a web page that the account
looks at can send requests to a port of its loopback (forwarded there, or by rebinding a name), but not with a
header of its own. `server` keeps the rules and speaks HTTP; `operations`, `tarballs` and `leaving` do what is
asked.
"""
