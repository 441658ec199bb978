"""The program `dobmi`, with subcommands by role."""
