#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""`easel serve` as a first user and its operator meet it: the first run, settings, the
commands beside it, and what they say when something is wrong."""
import contextlib
import fcntl
import http.server
import json
import os
import pty
import pwd
import re
import resource
import shlex
import shutil
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import tap  # noqa: E402
from running import EASEL, PRO, SANITIZED, ServiceTest, environment, wait_for  # noqa: E402


class FirstRun(ServiceTest):
    def test_first_run_then_second(self):
        server = self.serve()
        self.assertRegex(server.key, r"^easel_[A-Za-z0-9_-]{43}$")
        self.assertEqual("\n".join(server.out).count("shown this once"), 1)
        self.assertIn(f"  {server.url}/", server.out)
        line = next(l.strip() for l in server.out if l.strip().startswith("curl "))
        if shutil.which("curl"):
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            answer = json.loads(done.stdout)
        else:
            words = shlex.split(line)
            status, answer = server.request("POST", PRO, json.loads(words[words.index("-d") + 1]))
            self.assertEqual(status, 200)
        self.assertEqual(answer["status"], "CREATED")
        task = server.wait_for_status(answer["task_id"], "COMPLETED", "FAILED")
        self.assertEqual(task["status"], "COMPLETED", task)
        with_link = server.request("GET", task["generated"][0].removeprefix(server.url))
        self.assertEqual(with_link[1][:4], b"\x89PNG")
        self.assertEqual(server.stop(), 0)

        again = self.serve("--stub")
        self.assertIsNone(again.key)
        self.assertIn(f"Playground: {again.url}/", again.out)
        self.assertIn(f"A new key:  easel key create NAME --data {self.data}", again.out)
        self.assertEqual(again.task(answer["task_id"], server.key)["status"], "COMPLETED")
        self.assertEqual(again.stop(), 0)

    def test_what_the_folder_holds_is_the_owners(self):
        server = self.serve("--stub")
        self.assertEqual(stat.S_IMODE(self.data.stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((self.data / "easel.db").stat().st_mode), 0o600)
        self.assertNotIn(server.key.encode(), (self.data / "easel.db").read_bytes())
        self.assertNotIn(server.key, server.log())
        self.assertEqual(server.stop(), 0)
        self.assertEqual(list((self.data / "workers").iterdir()), [])

    def test_every_address_is_reached_by_this_machines_own(self):
        for listen in ("0.0.0.0:0", "*:0"):
            server = self.serve("--stub", listen=listen)
            self.assertTrue(server.url.startswith("http://127.0.0.1:"), server.url)
            self.assertIn(f"listening on {listen[:-1]}", server.log())
            self.assertEqual(server.stop(), 0)

    def test_default_folder(self):
        if os.geteuid() == 0:
            self.skipTest("for root the default folder is the system's")
        server_home = self.dir / "home"
        server_home.mkdir()
        done = subprocess.run([EASEL, "key", "list"], capture_output=True, text=True,
                              env=environment(HOME=str(server_home), XDG_DATA_HOME=""))
        self.assertIn(str(server_home / ".local/share/easel"), done.stderr)

    def test_default_folder_without_a_home(self):
        # as an ordinary user, whom root can be for a moment
        user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        env = {k: v for k, v in environment(XDG_DATA_HOME="").items() if k != "HOME"}
        home = pwd.getpwuid(user.get("user", os.geteuid())).pw_dir
        try:
            done = subprocess.run([EASEL, "key", "list"], capture_output=True, text=True, env=env, cwd="/",
                                  **user)
        except PermissionError:
            self.skipTest("the program lies where only root can run it")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"no database in {home}/.local/share/easel", done.stderr)

    def test_the_journal_gets_no_key(self):
        read_end, write_end = os.pipe()
        info = os.fstat(write_end)
        process = subprocess.Popen(
            [EASEL, "serve", "--stub", "--data", self.data, "--listen", "127.0.0.1:0"],
            stdout=write_end, stderr=subprocess.DEVNULL,
            env=environment(JOURNAL_STREAM=f"{info.st_dev}:{info.st_ino}"))
        self.addCleanup(process.kill)
        os.close(write_end)
        with os.fdopen(read_end) as out:
            self.assertIn("Playground:", out.readline())
            self.assertIn("easel key create", out.readline())
            process.terminate()
            self.assertEqual(process.wait(timeout=60), 0)
            self.assertEqual(out.read(), "")
        self.assertEqual(json.loads(self.easel("key", "list", "--json").stdout), [])


class Trouble(ServiceTest):
    def fails(self, *flags, code=1, needles=(), data=None, env=None):
        done = subprocess.run([EASEL, "serve", "--stub", "--data", str(data or self.data),
                               "--listen", "127.0.0.1:0", *map(str, flags)],
                              capture_output=True, text=True, env=environment(**(env or {})),
                              timeout=60)
        self.assertFails(done, code, *needles)
        self.assertEqual(done.stdout, "")

    def test_port_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.fails("--listen", f"127.0.0.1:{port}", needles=[str(port)])

    def test_wrong_address(self):
        for listen in ("nonsense", "127.0.0.1", "127.0.0.1:70000", "192.0.2.1:0"):
            with self.subTest(listen=listen):
                done = self.easel("serve", "--stub", "--listen", listen)
                self.assertIn(done.returncode, (1, 2), done.stderr)
                self.assertIn(listen.split(":")[0], done.stderr)
                self.assertLessEqual(len(done.stderr.splitlines()), 2)

    def test_folder_locked_by_another_server(self):
        server = self.serve("--stub")
        self.fails(needles=[str(self.data), f"process {server.process.pid}", "--data"])
        self.assertEqual(server.stop(), 0)

    def test_folder_that_cannot_be_made(self):
        (self.dir / "file").write_text("")
        self.fails(data=self.dir / "file" / "data", needles=[str(self.dir / "file")])
        self.fails(data=self.dir / "file", needles=["there is a file of this name"])
        if os.geteuid() != 0:
            (self.dir / "closed").mkdir(mode=0o500)
            self.fails(data=self.dir / "closed" / "data", needles=["ermission denied"])

    def test_model_that_is_not_there(self):
        done = self.easel("serve", "--listen", "127.0.0.1:0", "--model", "klein-900b")
        self.assertFails(done, 1, "klein-900b")
        self.assertFalse(self.data.exists())

    def test_database_that_is_none(self):
        self.data.mkdir()
        (self.data / "easel.db").write_bytes(b"this is no database, but a text of some length\n" * 99)
        self.fails(needles=["easel.db"])

    def test_log_file_that_cannot_be_written(self):
        self.fails("--log", self.dir / "no" / "such.log", needles=["such.log"])


class Settings(ServiceTest):
    def usage(self, needle, *flags, env=None):
        done = self.easel("serve", *flags, env=env)
        self.assertFails(done, 2, needle, "Try: easel serve --help")
        self.assertFalse(self.data.exists())

    def test_help_lists_every_setting_in_all_three_ways(self):
        done = self.easel("serve", "--help", data=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        flags = ("listen", "data", "model", "workers", "threads", "public-url", "webhook-secret",
                 "allow-private-webhooks", "queue-max", "result-hours", "price-output",
                 "price-reference", "no-previews", "grace", "log", "access-log", "http-threads",
                 "config", "stub")
        for flag in flags:
            self.assertRegex(done.stdout, rf"(?m)^  --{flag}\b")
            self.assertIn("EASEL_" + flag.upper().replace("-", "_"), done.stdout)
        self.assertIn("Examples:", done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 90)

    def test_wrong_values(self):
        self.usage("--nonsense is not an option", "--nonsense")
        self.usage('"extra" is no option', "extra")
        self.usage("--workers must be a whole number from 0 to 64", "--workers", "65")
        self.usage('not "x"', "--workers=x")
        for url in ("draw.example.org", "https://", "https:///x", "http://:80", "https://a?b",
                    "https://a/#b", "https://a@b", "https://a b"):
            self.usage("--public-url must be", "--public-url", url)
        self.usage("--price-output must be a number", "--price-output", "-1")
        self.usage("--stub takes no value", "--stub=yes")
        self.usage("--listen is empty", "--listen=")
        self.usage("EASEL_GRACE must be", env={"EASEL_GRACE": "soon"})
        self.usage("EASEL_NO_PREVIEWS must be yes or no", env={"EASEL_NO_PREVIEWS": "maybe"})
        lacks = self.easel("serve", "--model", data=False)
        self.assertFails(lacks, 2, "--model lacks its value")

    def test_wrong_lines_are_named(self):
        config = self.dir / "easel.conf"
        cases = [("# a comment\n\nlisten 127.0.0.1:0\n", "line 3"),
                 ("listne = 127.0.0.1:0\n", 'line 1: there is no setting "listne"'),
                 ("workers = 1\ngrace = soon\n", "line 2: grace must be"),
                 ("config = other.conf\n", "there is no setting"),
                 ("stub = perhaps\n", "must be yes or no"),
                 ('data = "/srv/easel"\n', "line 1: data: write the value without quotes"),
                 ("webhook-secret = 'sesame'\n", "webhook-secret: write the value without quotes")]
        for text, needle in cases:
            with self.subTest(text=text):
                config.write_text(text)
                self.usage(needle, "--config", config)
        done = self.easel("serve", "--config", self.dir / "none.conf")
        self.assertFails(done, 1, "none.conf")

    def test_secret_is_in_no_message(self):
        config = self.dir / "easel.conf"
        config.write_text("webhook-secret = sesame\n")
        done = self.easel("serve", "--stub", "--listen", "127.0.0.1:0", "--config", config)
        self.assertIn(done.returncode, (1, 2))
        self.assertNotIn("sesame", done.stderr)

    def test_flag_over_environment_over_file(self):
        config = self.dir / "easel.conf"
        config.write_text(f"# for the test\nstub = yes\n  data  =  {self.data}  \n"
                          "listen = 127.0.0.1:0  # any port\n"
                          "public-url = http://file.example.org/\n#stub = maybe\n")

        def url(*flags, **env):
            process = subprocess.Popen([EASEL, "serve", *flags], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True,
                                       env=environment(**env))
            try:
                text = ""
                while not re.search("(?m)^Playground:", text) or "http" not in text:
                    line = process.stdout.readline()
                    self.assertTrue(line)
                    text += line
                return re.search(r"http://\S+", text).group(0)
            finally:
                process.kill()
                process.communicate()

        file = ("--config", str(config))
        self.assertEqual(url(*file), "http://file.example.org/")
        self.assertEqual(url(EASEL_CONFIG=str(config)), "http://file.example.org/")
        self.assertEqual(url(*file, EASEL_PUBLIC_URL="http://env.example.org"),
                         "http://env.example.org/")
        self.assertEqual(url(*file, "--public-url", "http://flag.example.org",
                             EASEL_PUBLIC_URL="http://env.example.org"),
                         "http://flag.example.org/")
        self.assertRegex(url(*file, EASEL_PUBLIC_URL=""), "http://file.example.org/")

    def test_settings_take_effect(self):
        access = self.dir / "access.log"
        server = self.serve("--stub", "--access-log", access, "--workers", 2,
                            "--public-url", "https://draw.example.org/", "--price-output", 3,
                            env={"EASEL_RESULT_HOURS": "0.5"})
        wait_for("both workers are ready", lambda: len(server.worker_pids()) == 2)
        server.url = re.search(r"listening on (127\.0\.0\.1:\d+)", server.log()).group(1)
        server.url = f"http://{server.url}"
        task = server.wait_for_status(server.submit(), "COMPLETED")
        self.assertTrue(task["generated"][0].startswith("https://draw.example.org/v1/files/"))
        self.assertEqual(task["cost"], 3)
        lines = [json.loads(l) for l in access.read_text().splitlines()]
        self.assertTrue(any(l.get("path") == PRO for l in lines), lines)
        self.assertNotIn(server.key, access.read_text())
        self.assertNotIn("signature=", access.read_text())
        self.assertEqual(server.stop(), 0)

    def test_workers_get_no_secret(self):
        secret = "open-sesame-open-sesame"
        server = self.serve("--stub", env={"EASEL_WEBHOOK_SECRET": secret})
        pid = server.wait_for_worker()
        for name in ("environ", "cmdline"):
            self.assertNotIn(secret.encode(), Path(f"/proc/{pid}/{name}").read_bytes())
        done = self.easel("webhook", "secret", env={"EASEL_WEBHOOK_SECRET": secret})
        self.assertEqual(done.stdout, secret + "\n")
        self.assertEqual(server.stop(), 0)


class Operator(ServiceTest):
    """The commands beside a server, and without one."""

    def test_without_a_database(self):
        for args in (["key", "list"], ["key", "create", "a"], ["task", "list"],
                     ["webhook", "list"]):
            done = self.easel(*args)
            self.assertFails(done, 1, str(self.data), "--data")
        self.assertFalse(self.data.exists())
        worker = self.easel("worker", "--stub")
        self.assertFails(worker, 3, str(self.data))
        for args in (["key"], ["key", "create"], ["key", "list", "x"], ["key", "limit", "x"],
                     ["task", "shw", "x"], ["webhook", "redeliver"], ["webhook", "redeliver", "x"],
                     ["webhook", "redeliver", "1", "--all-dead"]):
            self.assertFails(self.easel(*args), 2, "Try: easel")  # that is not the first thing wrong

    def on_terminal(self, columns, *args):
        """What it prints on a terminal so wide."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([EASEL, *args, "--data", self.data], stdout=slave,
                                   env=environment())
        os.close(slave)
        text = b""
        with contextlib.suppress(OSError):  # the other side is closed
            while piece := os.read(master, 65536):
                text += piece
        os.close(master)
        self.assertEqual(process.wait(timeout=60), 0)
        return text.decode().replace("\r\n", "\n").splitlines()

    def test_tables_fit_the_terminal(self):
        server = self.serve("--stub", "--workers", 0, "--allow-private-webhooks")
        ids = [server.submit(prompt="a cat " * 9, webhook_url="http://127.0.0.1:1/") for _ in "12"]
        plain = self.easel("task", "list").stdout.splitlines()
        self.assertEqual(len(plain), 3)
        self.assertEqual(self.on_terminal(200, "task", "list"), plain)
        for columns in (60, 80, 100):
            for command in ("task", "webhook", "key"):
                lines = self.on_terminal(columns, command, "list")
                self.assertLessEqual(max(map(len, lines)), columns, lines)
        head, more, first, rest, second, _ = self.on_terminal(80, "task", "list")
        self.assertEqual([first.split()[0], second.split()[0]], ids[::-1])
        self.assertTrue(head.startswith("ID ") and more.startswith("  MODEL "), (head, more))
        self.assertEqual(first.index("CREATED"), head.index("STATE"))
        self.assertEqual(rest.index("256x256"), more.index("SIZE"))
        self.assertEqual(server.stop(), 0)

    def test_keys(self):
        server = self.serve("--stub")
        made = self.easel("key", "create", "alice", "--rate", 3, "--credits", "2.5")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertRegex(made.stdout, r"^easel_[A-Za-z0-9_-]{43}\n$")
        self.assertIn("shown this once", made.stderr)
        alice = made.stdout.strip()
        task = server.submit(key=alice)
        self.assertEqual(server.request("GET", f"{PRO}/{task}")[0], 404)  # another's

        listed = self.easel("key", "list")
        head, *rows = listed.stdout.splitlines()
        self.assertTrue(head.startswith("NAME"), head)
        row = next(r for r in rows if r.startswith("alice"))
        self.assertIn(alice[:12], row)
        self.assertIn("3/min", row)
        self.assertEqual(row.index(alice[:12]), head.index("KEY"))
        self.assertNotIn(alice, listed.stdout)
        facts = {k["name"]: k for k in json.loads(self.easel("key", "list", "--json").stdout)}
        self.assertEqual(facts["alice"]["rate_per_minute"], 3)
        self.assertEqual(facts["alice"]["credits"], 1.5)
        self.assertIsNone(facts["default"]["credits"])
        self.assertIsNotNone(facts["alice"]["last_used"])

        self.assertEqual(self.easel("key", "limit", "alice", "--credits", 0).returncode, 0)
        self.assertEqual(server.request("POST", PRO, {"prompt": "a"}, alice)[0], 402)
        self.assertEqual(self.easel("key", "limit", "alice", "--credits", "unlimited",
                                    "--rate", "unlimited").returncode, 0)
        self.assertEqual(server.request("POST", PRO, {"prompt": "a"}, alice)[0], 200)
        self.assertEqual(self.easel("key", "revoke", "alice").returncode, 0)
        self.assertEqual(server.request("POST", PRO, {"prompt": "a"}, alice)[0], 401)
        self.assertIn("revoked", self.easel("key", "list").stdout)
        self.assertEqual(server.stop(), 0)

        self.assertEqual(self.easel("key", "create", "later").returncode, 0)  # without a server
        self.assertFails(self.easel("key", "create", "later"), 1, "later")
        self.assertFails(self.easel("key", "revoke", "nobody"), 1, "nobody")
        self.assertFails(self.easel("key", "limit", "later"), 2, "--rate")
        self.assertFails(self.easel("key", "create", "x", "--rate", "0"), 2, "--rate")
        self.assertFails(self.easel("key", "create", "x", "--credits", "-1"), 2, "--credits")
        self.assertFails(self.easel("key"), 2, "create NAME")
        self.assertFails(self.easel("key", "create", "say \"x\""), 2, "name")

    def test_tasks(self):
        server = self.serve("--stub", "--workers", 0)
        ids = [server.submit(prompt=f"a cat\nno. {i} " + "ä" * 50) for i in range(3)]
        listed = self.easel("task", "list")
        head, *rows = listed.stdout.splitlines()
        self.assertEqual([r.split()[0] for r in rows], ids[::-1])
        self.assertEqual(rows[0].index("CREATED"), head.index("STATE"))
        self.assertIn("a cat no. 2 ä", rows[0])
        self.assertTrue(rows[0].endswith("…"))
        self.assertEqual(len(self.easel("task", "list", "--limit", 2).stdout.splitlines()), 3)

        # nothing that a terminal would obey
        server.submit(prompt="a\x1b[2J\x9b1mb\tc", key=self.easel("key", "create", "b").stdout.strip())
        odd = self.easel("task", "list").stdout.splitlines()[1]
        self.assertIn("a?[2J??1mb c", odd)
        self.assertIn(r"a\x1b[2J\xc2\x9b1mb" + "\tc", self.easel("task", "show", odd.split()[0]).stdout)

        self.assertIn("cancelled", self.easel("task", "cancel", ids[0]).stdout)
        failed = json.loads(self.easel("task", "list", "--state", "failed", "--json").stdout)
        self.assertEqual([t["id"] for t in failed], ids[:1])
        self.assertIn("cancelled", failed[0]["error"])
        shown = self.easel("task", "show", ids[0])
        self.assertIn("cancelled", shown.stdout)
        self.assertIn("seed 1", shown.stdout)
        self.assertEqual(self.easel("task", "retry", ids[0]).stdout, "CREATED\n")
        facts = json.loads(self.easel("task", "show", ids[0], "--json").stdout)
        self.assertEqual((facts["state"], facts["error"], facts["width"]), ("CREATED", None, 256))

        self.assertFails(self.easel("task", "retry", ids[1]), 1, "FAILED")
        unknown = "00000000-0000-4000-8000-000000000000"
        for action in ("show", "cancel", "retry"):
            self.assertFails(self.easel("task", action, unknown), 1, unknown)
        self.assertFails(self.easel("task", "list", "--state", "lost"), 2, "lost")
        self.assertFails(self.easel("task", "show"), 2, "show ID")

        # a worker that someone else starts does them all, and readiness knows of it
        self.assertEqual(server.request("GET", "/readyz")[0], 503)
        worker = subprocess.Popen([EASEL, "worker", "--stub", "--data", str(self.data)],
                                  stderr=subprocess.DEVNULL, env=environment())
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        for task in ids:
            server.wait_for_status(task, "COMPLETED")
        wait_for("readiness", lambda: server.request("GET", "/readyz")[0] == 200)
        worker.terminate()
        self.assertEqual(worker.wait(timeout=60), 0)
        wait_for("unreadiness", lambda: server.request("GET", "/readyz")[0] == 503)
        self.assertEqual(server.stop(), 0)

    def test_a_full_disk(self):
        # long enough to be seen, and over before its lease is, which a full disk does not let it renew
        server = self.serve("--model", self.slow_model(2 if SANITIZED else 8))
        pids = (server.process.pid, server.wait_for_worker())
        begun = server.submit()
        server.wait_for_status(begun, "IN_PROGRESS")
        limits = [resource.prlimit(p, resource.RLIMIT_FSIZE) for p in pids]
        for pid, limit in zip(pids, limits):  # that stands for it
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limit[1]))
        status, answer = server.request("POST", PRO, {"prompt": "a"})
        self.assertEqual(status, 503)
        self.assertIn("disk is full", answer["message"])
        wait_for("unreadiness", lambda: "disk is full" in str(server.request("GET", "/readyz")))
        wait_for("the result", lambda: "full" in server.log() and "trying again" in server.log())
        for pid, limit in zip(pids, limits):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
        server.wait_for_status(begun, "COMPLETED")
        facts = json.loads(self.easel("task", "show", begun, "--json").stdout)
        self.assertEqual(facts["attempts"], 1)
        server.wait_for_status(server.submit(), "COMPLETED")
        self.assertEqual(server.worker_pids(), [pids[1]])
        self.assertEqual(server.stop(), 0)

    def test_a_webhook_that_is_refused(self):
        class Receiver(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.send_error(500)

            def log_message(self, *_):
                pass
        receiver = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
        self.addCleanup(receiver.server_close)
        self.addCleanup(receiver.shutdown)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        server = self.serve("--stub", "--allow-private-webhooks")
        server.submit(webhook_url=f"http://127.0.0.1:{receiver.server_port}/")
        listed = wait_for("a try", lambda: re.search(
            r".* HTTP 500 .*", self.easel("webhook", "list").stdout)).group(0)
        self.assertEqual(listed.count("500"), 1, listed)
        self.assertEqual(server.stop(), 0)

    def test_webhooks(self):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        server = self.serve("--stub", "--allow-private-webhooks")
        url = f"http://127.0.0.1:{port}/hook"
        server.wait_for_status(server.submit(webhook_url=url), "COMPLETED")

        def tried():
            entries = json.loads(self.easel("webhook", "list", "--json").stdout)
            return entries if any(e["tries"] for e in entries) else None
        entry = wait_for("a try", tried)[-1]
        self.assertEqual((entry["url"], entry["standing"]), (url, "owed"))
        self.assertTrue(entry["last_error"])
        row = self.easel("webhook", "list").stdout
        self.assertIn(url, row)
        self.assertIn("owed", row)
        again = self.easel("webhook", "redeliver", entry["id"])
        self.assertEqual(again.stdout, "1 to be delivered again\n", again.stderr)
        self.assertEqual(len(self.easel("webhook", "list", "--limit", 2).stdout.splitlines()), 3)
        waiting = json.loads(self.easel("webhook", "list", "--json").stdout)[0]
        self.assertEqual((waiting["standing"], waiting["due"]), ("owed", None))
        self.assertIn("  in its turn  ", row)
        self.assertEqual(self.easel("webhook", "redeliver", "--all-dead").stdout,
                         "0 to be delivered again\n")
        self.assertIn("No webhook", self.easel("webhook", "list", "--dead").stderr)
        self.assertFails(self.easel("webhook", "redeliver", 9999), 1, "9999")
        self.assertFails(self.easel("webhook", "redeliver", "x"), 2, "number")
        secret = self.easel("webhook", "secret").stdout
        self.assertRegex(secret, r"^whsec_[A-Za-z0-9+/]{43}=\n$")
        self.assertEqual(self.easel("webhook", "secret").stdout, secret)
        self.assertEqual(server.stop(), 0)

    def test_help_teaches(self):
        for command in ("serve", "worker", "key", "task", "webhook"):
            done = self.easel(command, "--help", data=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("Examples:", done.stdout)
            self.assertIn(f"easel {command}", done.stdout)
        everything = self.easel("--help", data=False).stdout
        for command in ("serve", "worker", "key", "task", "webhook"):
            self.assertRegex(everything, rf"(?m)^  {command} ")


if __name__ == "__main__":
    tap.main(__name__)
