"""`python -m dobmi` is `dobmi`."""

from dobmi.cli.main import main

if __name__ == "__main__":
    main()
