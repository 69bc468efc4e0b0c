"""Checks test vectors of sealed udpstr, by docs/sealed-udp.md and another library.

    check.py VECTORS
"""

import sys

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

CIPHERS = {
    "aes-128-gcm": (AESGCM, 16),
    "aes-256-gcm": (AESGCM, 32),
    "chacha20-poly1305": (ChaCha20Poly1305, 32),
}


def expand(secret, label, epoch, length):
    info = label + epoch.to_bytes(4, "big")
    return HKDFExpand(algorithm=SHA256(), length=length, info=info).derive(secret)


def seal(cipher, secret, number, udpstr):
    aead, key_length = CIPHERS[cipher]
    epoch = number >> 23
    key = expand(secret, b"rpcap sealed key", epoch, key_length)
    iv = expand(secret, b"rpcap sealed iv", epoch, 12)
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    clear = bytes([0, 111, 0, 0]) + (number & 0xFFFFFFFF).to_bytes(4, "big")
    assert udpstr[:2] == bytes([0, 110]) and udpstr[4:8] == clear[4:8]
    return clear + aead(key).encrypt(nonce, udpstr[2:4] + udpstr[8:], clear)


def main():
    count = 0
    for line in open(sys.argv[1]):
        if line.startswith("#"):
            continue
        cipher, secret, number, udpstr, sealed = line.split()
        ours = seal(cipher, bytes.fromhex(secret), int(number, 16), bytes.fromhex(udpstr))
        if ours.hex() != sealed:
            sys.exit(f"{cipher} {number}:\n{ours.hex()}\n{sealed}")
        count += 1
    print(f"{count} vectors agree")


main()
