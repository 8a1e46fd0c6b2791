"""What does somebody see whose visit has ended, or whose broker was restarted? One line, and the way back in.

The browser finds out in two ways: the broker says goodbye to the pages of a visit that ends, and to who comes back with
a log-in that it does not know it answers 401. A broker that is away says neither: NiceGUI tells of that, and tries on.
"""

from __future__ import annotations

from typing import Final

from nicegui import Client, background_tasks, core, ui

STYLE: Final = """
.ended { position: fixed; inset: 0 0 auto; z-index: 9999; display: flex; flex-wrap: wrap; gap: .5rem 1rem;
  align-items: center; justify-content: center; padding: .7rem 1rem; background: var(--card); color: var(--text);
  border-bottom: 3px solid var(--tide); box-shadow: 0 6px 24px #0004; font-weight: 600; }
.ended:empty, body:has(.ended:not(:empty)) #popup { display: none; }
.ended button { padding: .4rem 1rem; border-radius: 8px; background: var(--tide); color: var(--card); font: inherit;
  cursor: pointer; }
"""

_WATCH: Final = """
const socket = window.socket;
const box = document.body.appendChild(document.createElement("div"));
box.className = "ended";
box.setAttribute("role", "alert");
const say = (words, mend) => {
  socket.disconnect();
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
socket.on("disconnect", reason => { if (reason === "io server disconnect") ask(true); });
socket.on("connect_error", () => ask(false));
"""


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
