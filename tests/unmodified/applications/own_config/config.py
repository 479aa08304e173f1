"""An application's own `config`, which must not be taken for another."""

GREETING = "hello from my own config"
