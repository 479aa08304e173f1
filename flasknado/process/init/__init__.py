"""`flasknado init NAME`: write a small project to begin with."""
