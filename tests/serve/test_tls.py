"""Served by TLS, with a key, at an address that others reach."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sartor.serve import keys


def certificate(folder):
    """Write a key and a certificate for 127.0.0.1, signed by itself; return their paths."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return cert, key


@pytest.mark.slow
def test_a_server_by_tls_at_every_address_wants_a_key(child, shop, tmp_path):
    text, _ = keys.add(shop.home)
    cert, key = certificate(tmp_path)
    server = child("--host", "0.0.0.0", "--tls-cert", cert, "--tls-key", key, wait=False)
    server.verify = ssl.create_default_context(cafile=str(cert))
    server.wait_ready()
    assert server.url.startswith("https://0.0.0.0:")
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    body = {"model": "mails", "inputs": ["x"]}
    with httpx.Client(base_url=url, verify=server.verify, timeout=30) as client:
        assert client.post("/predict", json=body).status_code == 401
        answer = client.post("/predict", json=body, headers={"authorization": f"Bearer {text}"})
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"]
    assert server.stop() == 0
