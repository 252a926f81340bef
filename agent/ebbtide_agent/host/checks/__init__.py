"""Everything that would fail tonight, looked for now: a file for each thing that is looked at. Nothing is changed."""
