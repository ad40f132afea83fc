#!/usr/bin/env python3
"""Checks a log without Credence: a file written by `credence replay --format cbor`, by docs/FORMAT.md alone.

Positions, versions, times, encodings, event hashes and the chain, from the origin on. A finding a line; exit status 1 when there is one.
Needs what stands in scripts/requirements.txt.
"""

import sys

try:
    import cbor2
    from blake3 import blake3
except ModuleNotFoundError as missing:
    print(f"{missing}: install what this needs: pip install -r scripts/requirements.txt", file=sys.stderr)
    sys.exit(2)


def encode(value):
    """Deterministic CBOR. cbor2 orders keys by length first, which for text keys is the bytewise order of their encodings."""
    return cbor2.dumps(value, canonical=True)


def content(event):
    return encode(
        [
            1,
            event["stream"],
            event["version"],
            event["type"],
            event["schema"],
            event["recorded_at"],
            event["metadata"],
            event["payload"],
        ]
    )


def hashed(*parts):
    return blake3(b"".join(parts)).digest()


def is_deterministic_map(encoded):
    try:
        value = cbor2.loads(encoded)
        return isinstance(value, dict) and encode(value) == encoded
    except Exception:
        return False


def findings(start, events):
    """Yields (position, what) for everything that does not hold."""
    if start["from"] != 0:
        yield start["from"], "the file does not start at position 0: its chain cannot be checked"
    chain, versions, recorded_at = hashed(start["origin"].encode()), {}, 0
    for position, event in enumerate(events):
        if event["position"] != position:
            yield position, f"gap: found position {event['position']}"
            return
        if event["version"] != versions.get(event["stream"], -1) + 1:
            yield position, f"version {event['version']} of {event['stream']} is out of turn"
        if event["recorded_at"] < recorded_at:
            yield position, "recorded earlier than the event before it"
        for part in ("metadata", "payload"):
            if not is_deterministic_map(event[part]):
                yield position, f"the {part} is not one deterministically encoded map"
        if event["event_hash"] != hashed(content(event)):
            yield position, "the event hash is not that of the content"
        chain = hashed(chain, event["event_hash"])
        if event["chain_hash"] != chain:
            yield position, "the chain hash does not follow"
        versions[event["stream"]], recorded_at = event["version"], event["recorded_at"]


def items(file):
    while file.peek(1):
        yield cbor2.load(file)


def main(path):
    events, head, count = 0, "none", 0

    def noted(rest):
        nonlocal events, head
        for event in rest:
            events, head = events + 1, event["chain_hash"].hex()
            yield event

    with open(path, "rb") as file:
        rest = items(file)
        start = next(rest)
        for position, what in findings(start, noted(rest)):
            count += 1
            print(f"{start['log']}@{position}: {what}")
    print(f"{start['log']}: {events} events, origin {start['origin']}, head {head}, {f'{count} findings' if count else 'ok'}")
    return 1 if count else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: check_log.py FILE")
    sys.exit(main(sys.argv[1]))
