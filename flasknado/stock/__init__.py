"""Both halves on Tornado's own connections (`http="tornado"`)."""
