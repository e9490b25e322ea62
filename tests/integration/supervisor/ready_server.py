"""A process that is ready as soon as it runs; its argument is the port that says so. It falls with
the last words that are posted to it.
"""

from __future__ import annotations

import http.server
import os
import sys


class Ready(http.server.BaseHTTPRequestHandler):
    """Says yes to every question, and falls when it is told to."""

    def do_GET(self) -> None:
        """Ready."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self) -> None:
        """Fall."""
        os.write(2, self.rfile.read(int(self.headers["Content-Length"])))
        os._exit(1)


if __name__ == "__main__":
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
