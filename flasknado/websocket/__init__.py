"""WebSocket (RFC 6455) without a connection class: a frame codec and the opening handshake.

Tornado's own WebSocket objects weigh 9 KB a client; a codec and a stream weigh less than one.
"""
