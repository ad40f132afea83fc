#!/usr/bin/env python3
"""Checks the worked example of docs/FORMAT.md without Credence: every block is made anew from the facts told in the text around it.

Exit status 1, with both values, when a block differs. Needs what stands in scripts/requirements.txt.
"""

import base64
import hashlib
import io
import json
import re
import sys
import uuid
from datetime import datetime
from hashlib import sha256
from pathlib import Path

try:
    import base58
    import cbor2
    from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt as unseal
    from nacl.signing import SigningKey
except ModuleNotFoundError as missing:
    print(f"{missing}: install what this needs: pip install -r scripts/requirements.txt", file=sys.stderr)
    sys.exit(2)

from check_export import Checker, Items, Key, Tree, check
from check_log import content, encode, findings, hashed

FORMAT = Path(__file__).parent.parent / "docs" / "FORMAT.md"
ORIGIN = "ledger.example/v1/logs/ledger"
ISSUER, SUBJECT, CREDENTIAL, KEY = (f"0198c5a2-0000-7000-8000-{n:012}" for n in (1, 2, 3, 4))
SIGNING_KEY = SigningKey(b"\x33" * 32)
DID = "did:key:z" + base58.b58encode(b"\xed\x01" + SIGNING_KEY.verify_key.encode()).decode()


def blocks(text):
    found = {}
    for kind, name, body in re.findall(r"^```(hex|json) (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        found[name] = bytes.fromhex(re.sub(r"#.*", "", body)) if kind == "hex" else body.strip().encode()
    return found


def micros(text):
    whole = datetime.fromisoformat(text)
    return int(whole.timestamp()) * 1_000_000 + whole.microsecond


def canonical_json(value):
    """RFC 8785, for what has no floats and no characters that order differently in UTF-16."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def expected(written):
    parts = {"genesis": hashed(ORIGIN.encode())}

    def event(position, stream, kind, recorded_at, metadata, payload, previous):
        metadata, payload = encode(metadata), encode(payload)
        made = {"position": position, "stream": stream, "version": 0, "type": kind, "schema": 1, "metadata": metadata, "payload": payload}
        made["recorded_at"] = micros(recorded_at)
        made["event_hash"] = hashed(content(made))
        made["chain_hash"] = hashed(previous, made["event_hash"])
        for name, value in {
            "metadata": metadata,
            "payload": payload,
            "content": content(made),
            "event-hash": made["event_hash"],
            "chain-hash": made["chain_hash"],
        }.items():
            parts[f"{name}-{position}"] = value
        return made

    first = event(
        0,
        f"issuer/{ISSUER}",
        "IssuerRegistered",
        "2026-11-22T08:00:00+00:00",
        {"actor": "system", "worker": "worker-1", "event_id": b"\xa0" * 16},
        {"did": DID, "name": "default"},
        parts["genesis"],
    )

    # The document is told by the block itself; that it is canonical, and that it is what was sealed, is checked here.
    document = json.loads(written["document"])
    parts["document"] = canonical_json(document)
    parts["digest"] = hashed(canonical_json({key: value for key, value in document.items() if key != "proof"}))

    proof = {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "created": "2026-11-22T08:00:01.500Z",
        "verificationMethod": f"{DID}#{DID.removeprefix('did:key:')}",
        "proofPurpose": "assertionMethod",
        "@context": document["@context"],
    }
    signed = sha256(canonical_json(proof)).digest() + sha256(parts["document"]).digest()
    proof["proofValue"] = "z" + base58.b58encode(SIGNING_KEY.sign(signed).signature).decode()
    parts["proof"] = canonical_json(proof)

    stream, key_id = f"credential/{CREDENTIAL}", f"subject/{SUBJECT}"
    parts["associated-data"] = encode([ORIGIN, stream, "CredentialIssued", 1, "document", key_id])
    sealed = cbor2.loads(written["sealed"])
    opened = unseal(sealed["box"], parts["associated-data"], sealed["nonce"], b"\x11" * 32)
    if opened != written["document"]:
        sys.exit("the sealed bytes do not open to the document")
    parts["sealed"] = encode({"box": sealed["box"], "key": key_id, "nonce": b"\x22" * 24})

    second = event(
        1,
        stream,
        "CredentialIssued",
        "2026-11-22T08:00:01.500000+00:00",
        {"actor": f"key/{KEY}", "worker": "worker-1", "event_id": b"\xa1" * 16, "request_id": "r-1"},
        {
            "type": "developer-certificate",
            "digest": parts["digest"],
            "issuer": uuid.UUID(ISSUER).bytes,
            "document": sealed,
            "subject_id": uuid.UUID(SUBJECT).bytes,
            "valid_until": micros("2027-11-22T00:00:00+00:00"),
        },
        first["chain_hash"],
    )

    start = {"log": "ledger", "from": 0, "origin": ORIGIN}
    parts["sequence"] = b"".join(encode(item) for item in (start, first, second))
    if found := list(findings(start, [first, second])):
        sys.exit(f"the example does not hold: {found}")
    return parts | export(first, second)


def export(first, second):
    parts, tree = {}, Tree()
    for position, event in enumerate((first, second)):
        parts[f"leaf-hash-{position}"] = hashlib.sha256(b"\x00" + event["event_hash"]).digest()
        tree.push(event["event_hash"])
    parts["root"] = hashlib.sha256(b"\x01" + parts["leaf-hash-0"] + parts["leaf-hash-1"]).digest()
    if tree.root() != parts["root"]:
        sys.exit("the tree of two leaves has another root")

    key = SigningKey(b"\x44" * 32)
    public = b"\x01" + key.verify_key.encode()
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n" + public).digest()[:4]
    parts["verifier-key"] = f"{ORIGIN}+{key_id.hex()}+{base64.b64encode(public).decode()}".encode()
    text = f"{ORIGIN}\n2\n{base64.b64encode(parts['root']).decode()}\n"
    signature = base64.b64encode(key_id + key.sign(text.encode()).signature).decode()

    parts["export-header"] = encode({"format": "credence-export", "version": 1, "log": "ledger", "origin": ORIGIN})
    parts["export-checkpoint"] = encode({"note": f"{text}\n\u2014 {ORIGIN} {signature}\n", "size": 2})
    before = b"".join([parts["export-header"], encode(first), encode(second), parts["export-checkpoint"]])
    footer = {"events": 2, "checkpoints": 1, "root": parts["root"], "chain_hash": second["chain_hash"], "blake3": hashed(before)}
    parts["export-footer"] = encode(footer)
    file = io.BufferedReader(io.BytesIO(before + parts["export-footer"]))
    *found, checker = check(Items(file), [Key(parts["verifier-key"].decode())])
    if found or not isinstance(checker, Checker) or checker.signed != 1:
        sys.exit(f"the export does not hold: {found}")
    return parts


def main():
    written = blocks(FORMAT.read_text())
    made = expected(written)
    wrong = 0
    for name in sorted(made.keys() | written.keys()):
        if made.get(name) != written.get(name):
            wrong += 1
            print(f"{name}:\n  written  {written.get(name, b'').hex()}\n  expected {made.get(name, b'').hex()}")
    print(f"docs/FORMAT.md: {len(made)} parts, {f'{wrong} differ' if wrong else 'ok'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
