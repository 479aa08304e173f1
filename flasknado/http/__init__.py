"""One client's connection: bytes in, requests out, bytes back."""
