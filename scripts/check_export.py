#!/usr/bin/env python3
"""Checks an export without Credence: a file written by `credence export`, by docs/FORMAT.md alone, with verifier keys if any are given.

usage: check_export.py FILE [--key VKEY]...

Every rule of "What a checker checks", the Merkle tree, the checkpoints and the footer. Of a payload it is checked that its members are those of the
table. A finding a line; exit status 1 when there is one. Memory: a number for each stream and each unique key.
Needs what stands in scripts/requirements.txt; exit status 2 where that is missing.
"""

import argparse
import base64
import hashlib
import io
import re
import sys
import uuid

try:
    import cbor2
    from blake3 import blake3
    from nacl.exceptions import BadSignatureError
    from nacl.signing import VerifyKey
except ModuleNotFoundError as missing:
    print(f"{missing}: install what this needs: pip install -r scripts/requirements.txt", file=sys.stderr)
    sys.exit(2)

from check_log import content, encode, hashed, is_deterministic_map

ITEM_BYTES_MAX = 1 << 24
TIME_MAX = 253402300799999999

HEADER = {"log", "format", "origin", "version"}
CHECKPOINT = {"note", "size"}
FOOTER = {"root", "blake3", "events", "chain_hash", "checkpoints"}
EVENT = {"type", "schema", "stream", "payload", "version", "metadata", "position", "chain_hash", "event_hash", "recorded_at"}

UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

# By log, category and type, and by the schema where it is another than 1: the members that must stand there, and those that may.
PAYLOADS = {
    ("ledger", "issuer", "IssuerRegistered"): ("did name", ""),
    ("ledger", "issuer", "IssuerKeyRotated"): ("did", ""),
    ("ledger", "credential", "CredentialIssued"): ("type digest issuer", "document subject_id valid_from valid_until"),
    ("ledger", "credential", "CredentialSuspended"): ("", "reason"),
    ("ledger", "credential", "CredentialReinstated"): ("", "reason"),
    ("ledger", "credential", "CredentialRevoked"): ("", "reason"),
    ("ledger", "subject", "SubjectErased"): ("keys order issuer credentials", ""),
    ("audit", "verification", "CredentialVerified"): ("as_of cause status presented_by", "position credential"),
    ("audit", "access", "PersonalDataRead"): ("via", "what"),
    ("audit", "access", "AccessRefused"): ("via problem", ""),
    ("audit", "key", "KeyCreated"): ("role issuer", ""),
    ("audit", "key", "KeyCreated", 2): ("roles issuer", "types expires_at"),
    ("audit", "key", "KeyRevoked"): ("", ""),
    ("audit", "key", "LogKeyRotated"): ("log", ""),
    ("audit", "key", "KeyLimited"): ("", "types expires_at"),
    ("audit", "key", "KeyReplaced"): ("expires_at replaced_by", ""),
    ("audit", "key", "TokenKeysReplaced"): ("", ""),
    ("audit", "key", "MasterKeyRotated"): ("to from", ""),
    ("audit", "vault", "VaultBackedUp"): ("valid_until", ""),
    ("audit", "vault", "VaultRestored"): ("erased made_at", ""),
    ("audit", "account", "AccountRegistered"): ("roles issuer", ""),
    ("audit", "account", "ProfileChanged"): ("", ""),
    ("audit", "account", "PasswordChanged"): ("", ""),
    ("audit", "account", "RolesChanged"): ("roles", ""),
    ("audit", "account", "AccountDeactivated"): ("", ""),
    ("audit", "account", "AccountActivated"): ("", ""),
    ("audit", "session", "SessionStarted"): ("account", ""),
    ("audit", "session", "SessionEnded"): ("cause account", ""),
    ("audit", "access", "LoginFailed"): ("cause identifier", ""),
    ("audit", "issuer", "IssuerChanged"): ("is_active", "url display_name"),
    ("audit", "issuer", "SigningKeyRotated"): ("did", ""),
    ("audit", "erasure", "ErasureOrdered"): ("issuer reason subjects", ""),
    ("audit", "rebuild", "RebuildStarted"): ("generation projection", ""),
    ("audit", "rebuild", "RebuildFinished"): ("generation projection", "equal"),
    ("audit", "retention", "AuditDetailsShredded"): ("months", ""),
}

# What may follow what in a credential's stream.
CREDENTIAL = {
    None: {"CredentialIssued": "active"},
    "active": {"CredentialSuspended": "suspended", "CredentialRevoked": "revoked"},
    "suspended": {"CredentialReinstated": "active", "CredentialRevoked": "revoked"},
    "revoked": {},
}


class Wrong(Exception):
    """Something does not hold, and nothing after it can be told."""


class Items:
    """The file's items, each with its bytes. One that is not deterministically encoded is not there."""

    def __init__(self, file):
        self.file, self.offset, self.hasher = file, 0, blake3()

    def next(self):
        """The next item and its bytes; None at the end of the file."""
        if not self.file.peek(1):
            return None
        bounded = Bounded(self.file)
        try:
            item = cbor2.CBORDecoder(bounded).decode()
        except Exception as error:
            raise Wrong(f"byte {self.offset}: no item of CBOR: {error}") from None
        read = bytes(bounded.read_bytes)
        if not isinstance(item, dict) or encode(item) != read:
            raise Wrong(f"byte {self.offset}: not a map in its deterministic encoding")
        return item, read

    def take(self, read):
        self.hasher.update(read)
        self.offset += len(read)


class Bounded(io.RawIOBase):
    """Reads no more than one item may have, and keeps it."""

    def __init__(self, file):
        self.file, self.read_bytes = file, bytearray()

    def readable(self):
        return True

    def read(self, size=-1):
        if size < 0 or len(self.read_bytes) + size > ITEM_BYTES_MAX:
            raise ValueError("longer than an item may be")
        read = self.file.read(size)
        self.read_bytes += read
        return read

    def readinto(self, buffer):
        read = self.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)


class Tree:
    """The Merkle tree of RFC 6962, as the roots of its perfect subtrees, the largest first."""

    def __init__(self):
        self.size, self.subtrees = 0, []

    def push(self, event_hash):
        node, size = hashlib.sha256(b"\x00" + event_hash).digest(), self.size
        while size & 1:
            node, size = hashlib.sha256(b"\x01" + self.subtrees.pop() + node).digest(), size >> 1
        self.subtrees.append(node)
        self.size += 1

    def root(self):
        if not self.subtrees:
            return hashlib.sha256(b"").digest()
        root = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            root = hashlib.sha256(b"\x01" + left + root).digest()
        return root


class Key:
    """A verifier key of C2SP signed-note: NAME+ID+KEY, where KEY is a byte for the kind and the public key."""

    def __init__(self, text):
        self.name, key_id, key = text.strip().split("+", 2)
        key = base64.b64decode(key, validate=True)
        self.kind, self.public = key[0], VerifyKey(key[1:])
        self.id = hashlib.sha256(self.name.encode() + b"\n" + key).digest()[:4]
        if self.kind not in (1, 4) or self.id.hex() != key_id:
            raise ValueError("not a verifier key of Ed25519 or of a cosignature")

    def verify(self, text, signature):
        """Kind 1 signs the text; kind 4, a witness's, a time and the text."""
        if self.kind == 4:
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            text = f"cosignature/v1\ntime {time}\n{text}"
        self.public.verify(text.encode(), signature)


class Checker:
    def __init__(self, header, keys):
        if set(header) != HEADER or header["format"] != "credence-export":
            raise Wrong("no export of a log")
        if header["version"] != 1:
            raise Wrong(f"an export of version {header['version']}, which is not described")
        self.log, self.origin, self.keys = header["log"], header["origin"], keys
        if self.log not in ("ledger", "audit") or not re.fullmatch(rf".+/v1/logs/{self.log}", self.origin):
            raise Wrong("the header's log and origin are not those of a log")
        self.chain, self.recorded_at, self.tree, self.checkpoints = hashed(self.origin.encode()), 0, Tree(), 0
        self.versions, self.states, self.owners, self.claims = {}, {}, {}, {}
        self.subjects, self.issued, self.erased = {}, {}, set()
        self.signed = 0

    def event(self, event):
        """Yields what does not hold."""
        position = self.tree.size
        if event["position"] != position:
            raise Wrong(f"position {event['position']} stands here")
        stream, kind = event["stream"], event["type"]
        if not re.fullmatch(rf"[a-z-]+/{UUID}", stream):
            yield f"{stream!r} is no stream"
        if event["version"] != self.versions.get(stream, -1) + 1:
            yield f"version {event['version']} of {stream} is out of turn"
        if not self.recorded_at <= event["recorded_at"] <= TIME_MAX:
            yield "recorded earlier than the event before it, or never"
        for part in ("metadata", "payload"):
            if not is_deterministic_map(event[part]):
                raise Wrong(f"the {part} is not one deterministically encoded map")
        if event["event_hash"] != hashed(content(event)):
            raise Wrong("the event hash is not that of the content")
        self.chain = hashed(self.chain, event["event_hash"])
        if event["chain_hash"] != self.chain:
            raise Wrong("the chain hash does not follow")
        self.versions[stream], self.recorded_at = event["version"], event["recorded_at"]
        self.tree.push(event["event_hash"])
        yield from self.facts(stream, kind, event, cbor2.loads(event["payload"]))

    def facts(self, stream, kind, event, payload):
        category = stream.split("/", 1)[0]
        described = (self.log, category, kind) + (() if event["schema"] == 1 else (event["schema"],))
        if described not in PAYLOADS:
            yield f"no {kind} of schema {event['schema']} is described for a stream of the category {category}"
            return
        needed, allowed = (set(members.split()) for members in PAYLOADS[described])
        if not needed <= set(payload) <= needed | allowed:
            yield f"the members of {kind} are not those of the table"
            return
        if self.log != "ledger":
            return
        if not self.follows(stream, category, kind, payload):
            yield f"{kind} does not follow in {stream}"
            return
        key = unique_key(kind, payload)
        if key is not None:
            owner = self.owners.setdefault(key, stream)
            if owner != stream:
                yield f"{stream} claims what {owner} owns"
            else:
                self.claims[stream] = key
        if kind == "CredentialRevoked" and stream in self.claims:
            del self.owners[self.claims.pop(stream)]

    def follows(self, stream, category, kind, payload):
        """Whether the event keeps its stream's rules. The state of an issuer is the dids that it has had; after an erasure nothing happens."""
        if category == "issuer":
            dids = self.states.setdefault(stream, set())
            fits = (kind == "IssuerRegistered") == (not dids) and payload["did"] not in dids
            dids.add(payload["did"])
            return fits
        if category == "subject":
            subject = stream.partition("/")[2]
            fits = subject not in self.erased and payload["credentials"] <= self.issued.get(subject, 0)
            self.erased.add(subject)
            return fits
        if "subject_id" in payload:
            self.subjects[stream] = subject = str(uuid.UUID(bytes=payload["subject_id"]))
            self.issued[subject] = self.issued.get(subject, 0) + 1
        state = CREDENTIAL[self.states.get(stream)].get(kind)
        self.states[stream] = state or "revoked"
        return state is not None and self.subjects.get(stream) not in self.erased

    def checkpoint(self, checkpoint):
        if checkpoint["size"] != self.tree.size:
            raise Wrong(f"a checkpoint of {checkpoint['size']} events stands here")
        self.checkpoints += 1
        note = checkpoint["note"]
        text, separator, signatures = note.rpartition("\n\n")
        text, lines = text + "\n", signatures.split("\n")
        if not separator or lines.pop() != "" or not lines:
            raise Wrong("a checkpoint is no signed note")
        said = text.split("\n")
        if said[:3] != [self.origin, str(self.tree.size), base64.b64encode(self.tree.root()).decode()]:
            raise Wrong("a checkpoint does not say what the events say")
        held = 0
        for line in lines:
            match = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
            if not match:
                raise Wrong("a line beneath a checkpoint is no signature")
            signature = base64.b64decode(match[2], validate=True)
            for key in self.keys:
                if (key.name, key.id) == (match[1], signature[:4]):
                    try:
                        key.verify(text, signature[4:])
                    except BadSignatureError:
                        raise Wrong(f"a signature of {key.name} does not hold") from None
                    held += key.kind == 1
        if self.keys and not held:
            yield f"none of the keys has signed the checkpoint of {checkpoint['size']} events"
        self.signed += held > 0

    def footer(self, footer, digest):
        seen = {
            "root": self.tree.root(),
            "blake3": digest,
            "events": self.tree.size,
            "chain_hash": self.chain,
            "checkpoints": self.checkpoints,
        }
        for name, value in seen.items():
            if footer[name] != value:
                yield f"the footer's {name} is not that of what stands before it"


def unique_key(kind, payload):
    if kind == "IssuerRegistered":
        return b"\x03" + payload["name"].encode()
    if kind != "CredentialIssued":
        return None
    if "subject_id" in payload:
        return b"\x01" + payload["issuer"] + payload["subject_id"] + payload["type"].encode()
    return b"\x02" + payload["issuer"] + payload["digest"]


def check(items, keys):
    """Yields findings, and last the checker, or nothing when it could not begin."""
    first = items.next()
    if first is None:
        raise Wrong("no export of a log: the file is empty")
    checker = Checker(first[0], keys)
    items.take(first[1])
    while True:
        here = f"{checker.log}@{checker.tree.size}, byte {items.offset}"
        try:
            found = items.next()
            if found is None:
                raise Wrong("the file ends here, before its footer")
            item, read = found
            if set(item) == EVENT:
                findings = checker.event(item)
            elif set(item) == CHECKPOINT:
                findings = checker.checkpoint(item)
            elif set(item) == FOOTER:
                findings = checker.footer(item, items.hasher.digest())
            else:
                raise Wrong("neither event nor checkpoint nor footer")
            for finding in findings:
                yield f"{here}: {finding}"
            items.take(read)
            if set(item) == FOOTER:
                if items.file.peek(1):
                    raise Wrong("something follows the footer")
                yield checker
                return
        except Wrong as wrong:
            raise Wrong(f"{here}: {wrong}") from None
        except (KeyError, TypeError, ValueError, AttributeError) as odd:
            raise Wrong(f"{here}: not as it is described: {odd!r}") from None


def main():
    parser = argparse.ArgumentParser(description="Checks an export without Credence.")
    parser.add_argument("file")
    parser.add_argument("--key", action="append", default=[], help="a verifier key, as NAME+ID+KEY; may be given more than once")
    arguments = parser.parse_args()
    keys, count = [Key(text) for text in arguments.key], 0
    with open(arguments.file, "rb") as file:
        try:
            for found in check(Items(file), keys):
                if isinstance(found, Checker):
                    break
                print(found)
                count += 1
        except Wrong as wrong:
            print(wrong)
            return 1
    signed = f", {found.signed} of them signed by the keys given" if keys else ""
    print(
        f"{found.log}: {found.tree.size} events, origin {found.origin}, head {found.chain.hex()}, root {found.tree.root().hex()}, "
        f"{found.checkpoints} checkpoints{signed}, {f'{count} findings' if count else 'ok'}"
    )
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
