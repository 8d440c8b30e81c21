"""Chromium without a screen, driven by WebDriver (JSON over HTTP) through chromedriver.

    with Browser(DRIVER, CHROMIUM, ENV, tmp("chromium")) as b:
        b.open("http://127.0.0.1:8080/")
        b.type("#name", "x")
        b.click("button[type=submit]")
        b.wait("return document.title == 'done'")
        b.screenshot("x.png")
"""
import base64
import json
import time
import urllib.error
import urllib.request

from harness import Failed, free_port, start, wait_port

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    def __init__(self, driver, chromium, env, folder):
        self.driver, self.chromium, self.env, self.folder = driver, chromium, env, folder
        self.port, self.session = free_port(), None

    def __enter__(self):
        self.process = start([self.driver, "--port=%d" % self.port, "--allowed-ips=127.0.0.1"], name="chromedriver", env=self.env)
        wait_port(self.port, 30, self.process)
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900",
                "--user-data-dir=" + self.folder, "--no-first-run", "--disable-background-networking", "--no-proxy-server"]
        self.session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": {"binary": self.chromium, "args": args}}}})["sessionId"]
        return self

    def __exit__(self, *_):
        try:
            self._ask("DELETE", "")
        except (Failed, OSError):
            pass
        self.process.stop()

    def _ask(self, method, path, body=None):
        at = "http://127.0.0.1:%d%s%s" % (self.port, "/session/" + self.session if self.session else "", path)
        data = None if body is None else json.dumps(body).encode()
        q = urllib.request.Request(at, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(q, timeout=120) as r:
                return json.load(r)["value"]
        except urllib.error.HTTPError as e:
            got = json.load(e)["value"]
            raise Failed("%s %s: %s" % (path, body, got.get("message", got))) from None

    def open(self, url):
        self._ask("POST", "/url", {"url": url})

    def js(self, script, *args):
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script, *args, timeout_s=30):
        """Until the script returns something, which is returned."""
        end, last = time.monotonic() + timeout_s, None
        while time.monotonic() < end:
            try:
                last = self.js(script, *args)
            except Failed as e:  # the page is changing
                last = None
                why = e
            else:
                why = ""
            if last:
                return last
            time.sleep(0.2)
        raise Failed("never in the browser: %s %s" % (script, why))

    def find(self, css):
        self.wait("return !!document.querySelector(arguments[0])", css)
        return self._ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def click(self, css):
        self._ask("POST", "/element/%s/click" % self.find(css), {})

    def type(self, css, text):
        self._ask("POST", "/element/%s/value" % self.find(css), {"text": text})

    def frame(self, css=None):
        """Go into a frame; without css out to the page."""
        self._ask("POST", "/frame", {"id": {ELEMENT: self.find(css)} if css else None})

    def screenshot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self._ask("GET", "/screenshot")))
