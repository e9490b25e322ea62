"""A process that is ready as soon as it runs; its argument is the port that says so."""

from __future__ import annotations

import http.server
import sys


class Ready(http.server.BaseHTTPRequestHandler):
    """Says yes to every question."""

    def do_GET(self) -> None:
        """Ready."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")


if __name__ == "__main__":
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ready).serve_forever()
