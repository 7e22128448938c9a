"""Real savers of every generation, and of other projects, each in a process of its own with its own packages."""
