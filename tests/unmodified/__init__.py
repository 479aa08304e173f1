"""Other people's applications, hosted as they are, each in an environment of its own."""
