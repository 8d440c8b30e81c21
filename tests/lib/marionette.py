"""Thunderbird without a screen, driven by Marionette, its own remote protocol: "LENGTH:[0, id, command, parameters]" over TCP.

    with Thunderbird(PROGRAM, ENV, tmp("profile"), {"a.preference": True}) as tb:
        tb.js("return Services.appinfo.version")
        tb.screenshot("x.png")

Scripts run in the program's own context, where its mail services are at hand, and may return a promise.
"""
import base64
import json
import os
import socket
import time

from harness import Failed, free_port, start

START_S = 90


class Thunderbird:
    def __init__(self, program, env, profile, prefs):
        self.program, self.env, self.profile = program, env, profile
        self.prefs = dict(prefs)
        self.port = free_port()
        self.id, self.input = 0, b""

    def __enter__(self):
        os.makedirs(self.profile, exist_ok=True)
        prefs = dict(self.prefs)
        prefs["marionette.port"] = self.port
        with open(os.path.join(self.profile, "user.js"), "w") as f:
            for name, value in prefs.items():
                f.write("user_pref(%s, %s);\n" % (json.dumps(name), json.dumps(value)))
        self.process = start([self.program, "--headless", "--marionette", "--remote-allow-system-access", "--no-remote", "--profile", self.profile],
                             name="thunderbird", env=self.env)
        end = time.monotonic() + START_S
        while True:
            try:
                self.s = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                break
            except OSError:
                if time.monotonic() > end:
                    raise Failed("thunderbird does not listen") from None
                time.sleep(0.3)
        self.s.settimeout(150)
        self._read()  # its greeting
        self.call("WebDriver:NewSession", {"capabilities": {"alwaysMatch": {"unhandledPromptBehavior": "ignore"}}})
        self.call("Marionette:SetContext", {"value": "chrome"})
        self.call("WebDriver:SetTimeouts", {"script": 120000})
        return self

    def __exit__(self, *_):
        try:
            self.call("Marionette:Quit", {"flags": ["eForceQuit"]})
        except (OSError, Failed):
            pass
        self.s.close()
        self.process.stop()

    def _read(self):
        while b":" not in self.input:
            self.input += self._some()
        n, _, self.input = self.input.partition(b":")
        while len(self.input) < int(n):
            self.input += self._some()
        out, self.input = self.input[:int(n)], self.input[int(n):]
        return json.loads(out)

    def _some(self):
        got = self.s.recv(65536)
        if not got:
            raise Failed("thunderbird has closed the connection")
        return got

    def call(self, command, parameters):
        self.id += 1
        text = json.dumps([0, self.id, command, parameters]).encode()
        self.s.sendall(b"%d:%s" % (len(text), text))
        while True:
            answer = self._read()
            if answer[1] == self.id:
                break
        if answer[2]:
            what = answer[2].get("message")
            if "alert dialog" in str(what):
                what = "thunderbird asks: %r" % self.call("WebDriver:GetAlertText", {})["value"]
            raise Failed("%s: %s" % (command, what))
        return answer[3]

    def js(self, script, *args):
        """The value that the script returns, or that its promise has."""
        whole = ("const { setTimeout } = ChromeUtils.importESModule('resource://gre/modules/Timer.sys.mjs'); let done = arguments[arguments.length - 1]; let args = Array.from(arguments).slice(0, -1);"
                 "(async function () { %s })().then(v => done({ value: v === undefined ? null : v }),"
                 " e => done({ error: String(e) + \"\\n\" + (e && e.stack) }));" % script)
        got = self.call("WebDriver:ExecuteAsyncScript", {"script": whole, "args": list(args), "sandbox": "system"})["value"]
        if got is None:  # a dialog is in the way
            raise Failed("thunderbird asks: %r, at: %s" % (self.call("WebDriver:GetAlertText", {})["value"], script))
        if "error" in got:
            raise Failed("in thunderbird: " + got["error"])
        return got["value"]

    def screenshot(self, path):
        got = self.call("WebDriver:TakeScreenshot", {"full": True, "hash": False})["value"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(got))
