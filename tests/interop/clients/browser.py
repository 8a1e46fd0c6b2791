"""Runs a program.js of these folders in a page of a real browser, under the contract of README.md.

python browser.py LIBRARY.js ROLE URL CA VERSION TOPIC QOS COUNT, in the folder of program.js. The browser does not look
at the server's certificate: it would have to be told of the authority in the user's own store.
"""

import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

PAGE = """\
<!doctype html>
<script src="library.js"></script>
<script src="program.js"></script>
<script>
  let told = Promise.resolve();
  const tell = (event) => (told = told.then(() => fetch("/tell", {{ method: "POST", body: JSON.stringify(event) }})));
  run({words}, tell).then(
    () => tell({{ event: "end" }}),
    (error) => tell({{ event: "end", error: error.message }}),
  );
</script>
"""


def main(library, *words):
    files = {"/library.js": Path(library), "/program.js": Path("program.js")}
    told = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            page = PAGE.format(words=json.dumps(words)).encode() if self.path == "/" else None
            known = page or self.path in files
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/html" if page else "text/javascript")
            self.end_headers()
            if known:
                self.wfile.write(page or files[self.path].read_bytes())

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    # The sandbox needs rights that a container has not; what is shown is our own page.
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--ignore-certificate-errors"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{server.server_port}/"
        command = [browser, *flags, f"--user-data-dir={profile}", address]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while (event := told.get())["event"] != "end":
                print(json.dumps(event), flush=True)
            process.kill()
    return event.get("error", 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
