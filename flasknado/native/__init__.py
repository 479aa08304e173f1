"""The Tornado half: native handlers on the same connections."""
