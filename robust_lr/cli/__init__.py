"""The command line. It starts fast, because a command imports what it needs only when it runs."""
