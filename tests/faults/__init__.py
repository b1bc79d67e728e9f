"""Faults, really injected, on the real engine: what users, neighbours and the operator get to see of each.

| injected | expected | by |
|---|---|---|
| kill -9 of the server in a first login | one container, nothing left over | test_killed_first_login |
| 50 first logins at once, and at two servers | one container | test_first_logins_at_once |
| kill -9 with sessions open | they end; what tmux has is there again | test_killed_server |
| SIGTERM | nothing is cut within the window | test_sigterm, test_handover |
| Docker stopped, killed, frozen, restarted | one line, recovery in 10 s | test_docker_restarts |
| Docker's socket taken away | the same; sessions go on | test_engine_away |
| database locked, killed, without room | nobody comes in, sessions go on, no row is lost | test_database |
| disk of the spool full | a clear message; what fits is made | test_spool |
| container killed, paused, removed, looping | the next login heals | test_by_hand, test_environment_ends |
| image missing, settings the engine refuses | the user and the operator are told | test_missing_image |
| fork bomb, process limit reached | rescue works, a neighbour is as fast as ever | test_fork_bomb |
| broken dotfiles, faked programs | all ways in work | test_sabotaged_home, test_broken_dotfiles |
| home of a million files | login and first bytes of a tarball as ever | test_many_files |
| packets dropped, not closed | the connection is freed in time | test_silent_network |
| slow SSH, HTTP headers and bodies | dropped within 30 s, disturbing nobody | test_slow_clients |
| 10,000 resizes a second | coalesced, the last wins | test_resizes |
| wall clock a day ahead, a day back | nothing ends early or late | test_clock |
"""
