"""The same as tokens.mjs, with PyJWT: signs and checks JWTs.

Takes one request, JSON on the standard input, and answers on the standard output. PyJWT asks the machine's clock and
takes no other, so times are not looked at here.
"""

import json
import sys

import jwt

request = json.load(sys.stdin)
if "sign" in request:
    asked = request["sign"]
    key = jwt.PyJWK(asked["key"], "EdDSA" if asked["key"]["kty"] == "OKP" else "ES256")
    headers = {"typ": asked["typ"]}
    sys.stdout.write(jwt.encode(asked["claims"], key.key, key.algorithm_name, headers=headers))
else:
    asked = request["check"]
    key = jwt.PyJWK(asked["key"], "EdDSA" if asked["key"]["kty"] == "OKP" else "ES256")
    options = {"require": ["iss", "aud", "iat", "jti"], "verify_aud": False, "verify_exp": False, "verify_iat": False}
    token = jwt.decode_complete(asked["token"], key.key, [key.algorithm_name], options)
    if token["header"]["typ"] != asked["typ"]:
        sys.exit("another type than asked for")
    json.dump(token["payload"], sys.stdout)
