"""What builds the documentation beside MkDocs: `mkdocs.yml` names `hooks` and `docstrings`."""
