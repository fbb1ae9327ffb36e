"""Other gateways on this machine, as their makers say to run them, in front of the same upstream: what they need is
installed into a folder. Knows how they are started and reached, not what is measured."""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from gateway import PATH, end, free_port, parent

# Pinned, so that a figure can be had again.
LITELLM, PORTKEY = "1.105.6", "1.15.2"


class Peer:
    """One that listens and is told where the upstream is. `pids` has all of its processes."""

    name = ""
    pids = {}

    def __init__(self, upstream, folder):
        self.upstream, self.folder, self.process = upstream, folder, None
        self.port, self.key = free_port(), "sk-" + secrets.token_hex(16)
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        self.install()
        began = time.monotonic()
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, env=self.environment())
        try:
            self.wait()
        except BaseException:
            end(self.process, 5)
            raise
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_):
        end(self.process, 10)

    def install(self):
        """Nothing, for what is built here."""

    def environment(self):
        return dict(os.environ)

    def wait(self):
        """Until it takes connections; two minutes at most."""
        for _ in range(1200):
            if self.process.poll() is not None:
                raise SystemExit(f"compare: {self.name} did not start: see {self.folder / self.name}.log")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"compare: {self.name} does not listen")

    def target(self, _case):
        """The words of loadgen that lead to it."""
        return [f"http://127.0.0.1:{self.port}{PATH}", "-H", f"authorization: Bearer {self.key}"]

    def processes(self):
        """Name → process id, its children with it."""
        found = {self.name: self.process.pid}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and parent(int(entry.name)) == self.process.pid:
                found[f"{self.name}-{entry.name}"] = int(entry.name)
        return found


class Floor(Peer):
    """See floor/src/main.rs."""

    name = "floor"

    def __init__(self, upstream, folder, program):
        super().__init__(upstream, folder)
        self.program = program

    def __enter__(self):
        self.process = subprocess.Popen([self.program, self.upstream, self.key], stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        return self


class Portkey(Peer):
    """The gateway of npm, which checks no key: the provider stands in the headers."""

    name = "portkey"

    def install(self):
        if not (self.folder / "node_modules/@portkey-ai/gateway/package.json").exists():
            command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", self.folder, f"@portkey-ai/gateway@{PORTKEY}"]
            subprocess.run(command, check=True, stdout=sys.stderr)

    def command(self):
        script = self.folder / "node_modules/@portkey-ai/gateway/build/start-server.js"
        return ["node", script, f"--port={self.port}", "--headless"]

    def target(self, case):
        headers = ["x-portkey-provider: openai", f"x-portkey-custom-host: {self.upstream}/v1"]
        return [*super().target(case), *(word for header in headers for word in ("-H", header))]


class LiteLlm(Peer):
    """The proxy of PyPI with one worker and its master key; usage goes nowhere, since its ledger wants PostgreSQL."""

    name = "litellm"

    def install(self):
        self.venv = self.folder / "litellm"
        if not (self.venv / "bin/litellm").exists():
            subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)
            command = [self.venv / "bin/pip", "install", "--quiet", f"litellm[proxy]=={LITELLM}"]
            subprocess.run(command, check=True, stdout=sys.stderr)
        (self.folder / "litellm.yaml").write_text(
            f"model_list: [{{model_name: '*', litellm_params: {{model: 'openai/*', api_key: sk-1,"
            f" api_base: '{self.upstream}/v1'}}}}]\ngeneral_settings: {{master_key: {self.key}}}\n"
            "litellm_settings: {telemetry: false}\n")

    def command(self):
        return [self.venv / "bin/litellm", "--config", self.folder / "litellm.yaml", "--port", str(self.port),
                "--host", "127.0.0.1", "--num_workers", "1"]

    def environment(self):
        return {**super().environment(), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_COLOR": "1"}

    def wait(self):
        super().wait()
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/liveliness", timeout=2).close()
                return
            except (OSError, urllib.error.URLError):
                time.sleep(0.2)
        raise SystemExit("compare: litellm does not become ready")
