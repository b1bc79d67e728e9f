"""`python -m rootblood`: the command line."""

from rootblood.cli.main import main

if __name__ == "__main__":
    main()
