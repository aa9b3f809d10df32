"""A folder for the PYTHONPATH of a command, which attaches the schedule doctor in each Python that it starts."""
