"""What does somebody see whose visit has ended, or whose broker is gone? One line, and the way back in if there is one.

The browser finds out in two ways: the broker says goodbye to the pages of a visit that ends, and to who comes back with
a log-in that it does not know it answers 401. A broker that is away says neither: then the page turns grey, says since
when, and NiceGUI tries on.
"""

from __future__ import annotations

from typing import Final

from nicegui import Client, background_tasks, core, ui

PATIENCE_MS: Final = 2000
"""What a connection may be away before it is told: one that is back at once is no news."""

STYLE: Final = """
.ended { position: fixed; inset: 0 0 auto; z-index: 9999; display: flex; flex-wrap: wrap; gap: .5rem 1rem;
  align-items: center; justify-content: center; padding: .7rem 1rem; background: var(--card); color: var(--text);
  border-bottom: 3px solid var(--tide); box-shadow: 0 6px 24px #0004; font-weight: 600; }
.ended:empty, #popup { display: none; } /* the latter is NiceGUI's, and would cover figures */
.away .q-page { filter: grayscale(1); }
.ended button { padding: .4rem 1rem; border-radius: 8px; background: var(--tide); color: var(--card); font: inherit;
  cursor: pointer; }
"""

_WATCH: Final = """
const socket = window.socket;
const box = document.body.appendChild(document.createElement("div"));
box.className = "ended";
box.setAttribute("role", "alert");
let patience = 0;
const back = () => {
  clearTimeout(patience);
  patience = 0;
  box.replaceChildren();
  document.body.classList.remove("away");
};
const gone = () => {
  if (patience) return;
  const since = new Date().toLocaleTimeString("en-GB");
  patience = setTimeout(() => {
    document.body.classList.add("away");
    box.textContent = `No connection to the broker since ${since}: what stands here is older. Trying again …`;
  }, PATIENCE_MS);
};
const say = (words, mend) => {
  socket.disconnect();
  back();
  const button = document.createElement("button");
  button.textContent = mend;
  button.onclick = () => location.reload();
  box.replaceChildren(words, button);
};
const ask = async goodbye => {
  const answer = await fetch("/favicon.ico", { cache: "no-store" }).catch(() => null);
  if (answer?.status === 401) say("Your log-in has ended, and this page with it.", "Log in again");
  else if (goodbye) say("This page has ended: it shows nothing new.", "Reload");
};
socket.on("disconnect", reason => {
  if (reason === "io server disconnect") ask(true);
  else if (reason !== "io client disconnect") gone();
});
socket.on("connect_error", () => { gone(); ask(false); });
socket.on("connect", back);
""".replace("PATIENCE_MS", str(PATIENCE_MS))


def watch_for_end() -> None:
    """For the page that is being built."""
    ui.add_css(STYLE)
    ui.run_javascript(_WATCH)


def end(client: Client) -> None:
    """Throw a page away, and tell the browser that has it open."""
    sockets = [socket for socket, _ in core.sio.manager.get_participants("/", client.id)]
    client.delete()
    for socket in sockets:
        background_tasks.create(core.sio.disconnect(socket), name="say goodbye to a page")
