"""WebSocket (RFC 6455) without a connection class: the codec of its frames. Pure.

Tornado's own WebSocket objects weigh 9 KB a client; a codec and a stream weigh less than one.
"""
