"""`python -m emotape` and the `emotape` command."""


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback while it is still being imported, too."""
    try:
        from emotape.delivery.cli import main as run

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
