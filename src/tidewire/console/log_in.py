"""What does somebody see who has to log in? One small page without a script."""

from __future__ import annotations

from html import escape
from typing import Final

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Log in · Tidewire</title>
<style>
:root {{ color-scheme: light dark;
  --ground: #eef3f6; --card: #fff; --text: #10212c; --line: #6b7f8c; --tide: #0b6e8f; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #0d161d; --card: #16232d; --text: #e6eff4; --line: #7f95a3; --tide: #4cc3e6; }}
}}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--ground);
  color: var(--text); font: 16px/1.5 system-ui, sans-serif; }}
main {{ width: min(22rem, 88vw); padding: 2rem; background: var(--card); border-radius: 14px;
  box-shadow: 0 10px 40px #0002; }}
h1 {{ margin: 0 0 1rem; font-size: 1.4rem; }}
label {{ display: block; margin-top: 1rem; font-size: .9rem; }}
input {{ box-sizing: border-box; width: 100%; padding: .6rem .7rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: 8px; }}
button {{ width: 100%; margin-top: 1.5rem; padding: .7rem; font: inherit; font-weight: 600; border: 0;
  border-radius: 8px; background: var(--tide); color: var(--card); cursor: pointer; }}
:focus-visible {{ outline: 3px solid var(--tide); outline-offset: 2px; }}
.wrong {{ margin: 1rem 0 0; color: light-dark(#a3261a, #ff9c8f); }}
</style>
</head>
<body>
<main>
<h1>Tidewire</h1>
<form method="post" action="/log-in">
<label for="user">User</label>
<input id="user" name="user" value="{user}" autocomplete="username" autofocus required>
<label for="password">Password or token</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
{wrong}
<button>Log in</button>
</form>
</main>
</body>
</html>
"""


def log_in_page(wrong: str = "", user: str = "") -> str:
    """`wrong` says in words why it has failed."""
    told = f'<p class="wrong" role="alert">{escape(wrong)}</p>' if wrong else ""
    return _PAGE.format(user=escape(user, quote=True), wrong=told)
