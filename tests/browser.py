"""A headless Chromium, driven by its DevTools protocol over a pipe.

Messages are JSON objects that end in a zero byte: descriptor 3 of the browser
reads commands, descriptor 4 writes answers and events. No port is opened.
"""

import contextlib
import json
import os
import pathlib
import select
import shutil
import subprocess
import tempfile
import time
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE = 30.0  # seconds; the machine may be busy
_KEYS = {
  "Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39,
}  # fmt: skip


class Browser:
  """One browser with one page; a context manager."""

  def __enter__(self) -> "Browser":
    self._open = contextlib.ExitStack()
    home = self._open.enter_context(
      tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    )
    commands, self._to = os.pipe()
    self._from, answers = os.pipe()
    options = [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio",
      "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
      "--disable-background-networking", "--disable-component-update",
      "--remote-debugging-pipe", f"--user-data-dir={home}", "about:blank",
    ]  # fmt: skip
    shell = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
    self._process = subprocess.Popen(
      ["bash", "-c", shell, CHROMIUM, *options],
      pass_fds=(commands, answers),
      stderr=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
    )
    os.close(commands)
    os.close(answers)
    self._number, self._unread, self._session = 0, b"", None
    self.events: list[dict[str, Any]] = []
    target = next(
      found
      for found in self.call("Target.getTargets")["targetInfos"]
      if found["type"] == "page"
    )
    self._session = self.call(
      "Target.attachToTarget", targetId=target["targetId"], flatten=True
    )["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self.call(f"{domain}.enable")
    return self

  def __exit__(self, *_) -> None:
    self._session = None
    self.call("Browser.close")
    self._process.wait(timeout=_PATIENCE)
    os.close(self._to)
    os.close(self._from)
    self._open.close()

  def call(self, method: str, **arguments) -> dict[str, Any]:
    """Sends a command and returns its result."""
    self._number += 1
    message = {"id": self._number, "method": method, "params": arguments}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._to, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._read()
      if answer.get("id") == self._number:
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]
      self.events.append(answer)

  def _read(self) -> dict[str, Any]:
    while b"\0" not in self._unread:
      ready, _, _ = select.select([self._from], [], [], _PATIENCE)
      assert ready, f"Chromium says nothing for {_PATIENCE:g} s"
      piece = os.read(self._from, 1 << 16)
      assert piece, "Chromium has ended"
      self._unread += piece
    message, _, self._unread = self._unread.partition(b"\0")
    return json.loads(message)

  def open(self, path: pathlib.Path) -> None:
    self._load("Page.navigate", url=path.as_uri())

  def reload(self) -> None:
    self._load("Page.reload")

  def _load(self, method: str, **arguments) -> None:
    self.events.clear()
    self.call(method, **arguments)
    self.until(
      lambda: (
        any(e["method"] == "Page.loadEventFired" for e in self.events)
        and self.run("document.readyState") == "complete"
      )
    )

  def run(self, script: str) -> Any:
    """The value of a JavaScript expression."""
    done = self.call("Runtime.evaluate", expression=script, returnByValue=True)
    assert "exceptionDetails" not in done, done["exceptionDetails"]
    return done["result"].get("value")

  def until(self, condition) -> None:
    """Waits for a function, or a JavaScript expression, to become true."""
    end = time.monotonic() + _PATIENCE
    while True:
      self.run("0")  # events come with answers
      if self.run(condition) if isinstance(condition, str) else condition():
        return
      assert time.monotonic() < end, condition
      time.sleep(0.02)

  def press(self, key: str, *, shift: bool = False) -> None:
    """Presses a key of _KEYS, or one that is a character."""
    text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
    what = {
      "key": key,
      "code": "Space" if key == " " else key,
      "windowsVirtualKeyCode": _KEYS.get(key, ord(key[0].upper())),
      "modifiers": 8 if shift else 0,
    }
    kind = "keyDown" if text else "rawKeyDown"
    self.call("Input.dispatchKeyEvent", type=kind, text=text, **what)
    self.call("Input.dispatchKeyEvent", type="keyUp", **what)

  def type(self, text: str) -> None:
    for character in text:
      self.press(character)
