"""The attacks, in the order in which they are made."""

from __future__ import annotations

from tests.siege.attack import Attack
from tests.siege.attacks import (
    bodies,
    calm,
    connections,
    framing,
    live,
    outages,
    people,
    trust,
    websocket,
)

_MODULES = (calm, websocket, live, bodies, connections, framing, trust, people, outages)

ATTACKS: dict[str, Attack] = {
    attack.name: attack for module in _MODULES for attack in module.ATTACKS
}
