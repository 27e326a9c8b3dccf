// Signs and checks JWTs with jose. Takes one request, JSON on the standard input, and answers on the standard output:
//   { "sign": { "key": JWK with d, "typ": …, "claims": {…} } }                    → the token
//   { "check": { "key": JWK, "typ": …, "token": …, "now": seconds } }   → its claims, or an error and status 1
import { text } from 'node:stream/consumers'
import { SignJWT, importJWK, jwtVerify } from 'jose'

const algorithm = (key) => (key.kty === 'OKP' ? 'EdDSA' : 'ES256')
const { sign, check } = JSON.parse(await text(process.stdin))
if (sign) {
  const alg = algorithm(sign.key)
  const key = await importJWK(sign.key, alg)
  process.stdout.write(await new SignJWT(sign.claims).setProtectedHeader({ typ: sign.typ, alg }).sign(key))
} else {
  const alg = algorithm(check.key)
  const key = await importJWK(check.key, alg)
  const { payload } = await jwtVerify(check.token, key, {
    typ: check.typ,
    algorithms: [alg],
    requiredClaims: ['iss', 'aud', 'iat', 'jti'],
    currentDate: new Date(check.now * 1000),
  })
  process.stdout.write(JSON.stringify(payload))
}
