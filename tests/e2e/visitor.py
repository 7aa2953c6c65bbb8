"""Somebody at the pages, without a browser: cookies, the CSRF token, and forms."""

import html
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request


class Visitor:
    """A session at the pages of the system at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

    def log_in(self, email: str, password: str) -> "Visitor":
        status, page = self.post("/login/", page="/login/", username=email, password=password)
        assert status == 200
        assert "Log out" in page, page
        return self

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the page's source, with quotes and the like as they are shown."""
        status, source = self._open(urllib.request.Request(self._url + path))
        return status, html.unescape(source)

    def post(self, path: str, *, page: str, **fields: str) -> tuple[int, str]:
        """Send the form that `page` shows to `path`; returns the status and the text where that leads."""
        _, text = self.get(page)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', text)
        assert token, f"no form at {page}"
        content = urllib.parse.urlencode({**fields, "csrfmiddlewaretoken": token[1]}).encode()
        return self._open(urllib.request.Request(self._url + path, data=content))

    def _open(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
