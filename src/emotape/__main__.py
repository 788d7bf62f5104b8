"""`python -m emotape` and the `emotape` command."""

from emotape.delivery.cli import main

if __name__ == "__main__":
    main()
