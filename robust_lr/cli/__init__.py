"""The command line. It starts fast: a command imports what it needs when it runs."""
