"""`flasknado deploy KIND MODULE:APP`: finished files for service managers and containers."""
