"""Checks a DKIM signature, or makes one with a new RSA key, with dkimpy.

Takes one request, JSON on the standard input, and answers on the standard output. There is no DNS: the one record that
is looked up comes with the request.
"""

import base64
import json
import sys

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

request = json.load(sys.stdin)
message = request["message"].encode()
if "record" in request:
    names = []

    def find(name, timeout=5):
        names.append(name.decode())
        return request["record"].encode()

    json.dump({"holds": dkim.verify(message, dnsfunc=find), "names": names}, sys.stdout)
else:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    fields = dkim.sign(
        message, b"s1", request["domain"].encode(), pem, canonicalize=(b"relaxed", b"simple")
    )
    record = "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()
    json.dump({"fields": fields.decode(), "record": record}, sys.stdout)
