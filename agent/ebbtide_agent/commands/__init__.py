"""What the agent can be told, a file for each command: its words, its help, and whom it calls."""
