"""The processes of a run: the upstream, and the gateway with its children. Knows how they are started, reached and
ended, not what is measured."""

import json
import os
import secrets
import select
import shlex
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

PATH = "/v1/chat/completions"
CONFIG = """[providers.mock]
dialect = "openai"
base_url = "{upstream}/v1"

[providers.foreign]
dialect = "anthropic"
base_url = "{upstream}"

[[prices]]
model = "mock/mock-model"
input_usd_per_million = "0.15"
output_usd_per_million = "0.60"

[[prices]]
model = "foreign/mock-model"
input_usd_per_million = "0.15"
output_usd_per_million = "0.60"

[providers.limited]
dialect = "openai"
base_url = "{upstream}/v1"

[[prices]]
model = "limited/mock-model"
input_usd_per_million = "0.15"
output_usd_per_million = "0.60"
{budgets}
[[limits]]
name = "limited"
match = {{ provider = "limited" }}
rates = {{ requests_per_minute = 10000000, tokens_per_minute = 1000000000000, concurrent_requests = 100000 }}

{extra}
"""
BUDGETS = "".join(
    f"""
[[budgets]]
name = "limited-{cycle}"
match = {{ provider = "limited" }}
limit_usd = "900000"
cycle = "{cycle}"
"""
    for cycle in ("daily", "weekly", "monthly", "total")
)

# Two budgets and rates for what is measured, beside the key and the ledger, which are always on.
EVERYTHING_ON = """
[[prices]]
model = "mock/mock-model~d20000"
input_usd_per_million = "0.15"
output_usd_per_million = "0.60"
[[budgets]]
name = "compared-daily"
match = { provider = "mock" }
limit_usd = "900000"
cycle = "daily"
[[budgets]]
name = "compared-monthly"
match = { provider = "mock" }
limit_usd = "900000"
cycle = "monthly"
[[limits]]
name = "compared"
match = { provider = "mock" }
rates = { requests_per_minute = 10000000, tokens_per_minute = 1000000000000, concurrent_requests = 100000 }
"""


def tools_environment(checkout, say):
    """What `deploy/setup run` fetched: the variables that `penstock up` wants."""
    say("fetching what is missing (deploy/setup run)")
    subprocess.run([checkout / "deploy/setup", "run"], check=True)
    folder = Path(os.environ.get("PENSTOCK_TOOLS", checkout / ".penstock/tools"))
    words = shlex.split((folder / "env").read_text())
    return dict(word.split("=", 1) for word in words if "=" in word)


class Upstream:
    """A scripted provider."""

    def __init__(self, program):
        self.process = subprocess.Popen([program, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().split()[-1]
        self.pid = self.process.pid
        self.target = [self.url + PATH]

    def requests(self):
        with urllib.request.urlopen(self.url + "/stats", timeout=5) as response:
            return json.load(response)["requests"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process, 5)


class Gateway:
    """`penstock up`, as a user runs it."""

    def __init__(self, binary, folder, upstream, tools, extra):
        self.binary, self.data, self.log = binary, folder / "data", folder / "log"
        self.config = folder / "penstock.toml"
        self.config.write_text(CONFIG.format(upstream=upstream, budgets=BUDGETS, extra=extra))
        self.key = "psk_" + secrets.token_hex(16)
        # Keys of real providers stay out of it, and so do settings that this run does not know of.
        ours = {name: value for name, value in os.environ.items() if not is_foreign(name)}
        self.environment = {**ours, **tools, "PENSTOCK_KEY": self.key}
        self.listen = f"127.0.0.1:{free_port()}"
        header = f"authorization: Bearer {self.key}"
        self.target = [f"http://{self.listen}{PATH}", "-H", header, "--model"]
        self.process, self.children = None, {}
        try:
            self.start_seconds = self.start()
        except BaseException:
            self.stop()
            raise

    def targets(self, name):
        """Where loadgen sends the requests of a measurement."""
        provider = {"translated": "foreign", "limited": "limited"}.get(name, "mock")
        return [*self.target, f"{provider}/mock-model"]

    def start(self):
        """Starts it, and gives the seconds until it said that it is ready."""
        command = [self.binary, "up", "--config", self.config, "--data", self.data, "--listen", self.listen]
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=self.environment)
        ready, _, _ = select.select([self.process.stdout], [], [], 180)
        line = self.process.stdout.readline() if ready else b""
        if not line.startswith(b"Penstock is ready"):
            raise SystemExit(f"load: the gateway did not start:\n{self.log.read_text()[-2000:]}")
        seconds = time.monotonic() - began
        self.children = children(self.process.pid)
        return seconds

    def pids(self):
        """Its processes by name, as they are now: a child that died has another number."""
        self.children = children(self.process.pid)
        return {"penstock": self.process.pid, **self.children}

    def resident_mb(self):
        return {name: resident_mb(pid) for name, pid in self.pids().items()}

    def ledger_rows(self):
        """Attempts in ClickHouse, each counted once."""
        query = "SELECT count() AS rows FROM attempts FINAL"
        command = [self.binary, "sql", "--config", self.config, "--data", self.data, "--format", "json", query]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=self.environment)
        return int(json.loads(done.stdout)[0]["rows"])

    def stop(self):
        if self.process is not None:
            end(self.process, 45)
            for pid in self.children.values():  # they end with it; what is left of a gateway that was killed does not
                if parent(pid) == 1 and str(self.data) in command_line(pid):
                    os.kill(pid, 15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class WithWorkers(Gateway):
    """`penstock up`, and further processes with workers beside it."""

    def __init__(self, further, *arguments):
        self.workers = []
        super().__init__(*arguments)
        nats = json.loads((self.data / "run.json").read_text())["nats"]
        try:
            for _ in range(further):
                self.workers.append(self.start_worker(nats))
        except BaseException:
            self.stop()
            raise

    def start_worker(self, nats):
        log = self.log.with_name(f"worker-{len(self.workers)}")
        with open(log, "wb") as file:
            command = [self.binary, "worker", "--config", self.config]
            process = subprocess.Popen(command, stderr=file, env={**self.environment, "PENSTOCK_NATS_URL": nats})
        until = time.monotonic() + 60
        while "the workers are ready" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                end(process, 5)
                raise SystemExit(f"load: a worker did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        return process

    def pids(self):
        return {**super().pids(), **{f"worker {number}": process.pid for number, process in enumerate(self.workers)}}

    def stop(self):
        for process in self.workers:
            end(process, 20)
        super().stop()


def is_foreign(name):
    return name.startswith("PENSTOCK_") or name.endswith(("_API_KEY", "_TOKEN", "_PROXY", "_proxy"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def end(process, wait):
    process.terminate()
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children(pid):
    """Name → process of the gateway's children."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and parent(int(entry.name)) == pid:
            name = "clickhouse" if "clickhouse\0--files" in command_line(int(entry.name)) else "nats-server"
            found[name] = int(entry.name)
    return dict(sorted(found.items(), reverse=True))


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(status.partition("VmRSS:")[2].split()[0]) / 1024, 1)
