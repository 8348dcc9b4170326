"""Words and names that say something by themselves: free mail, free hosting, letters no person chose."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

_VOWELS = frozenset("aeiouyAEIOUY")
#: endings of hosts that anyone sets up for nothing
FREE_HOSTS = (
    ".firebaseapp.com",
    ".web.app",
    ".pages.dev",
    ".workers.dev",
    ".r2.dev",
    ".run.app",
    ".cloudfunctions.net",
    ".azurewebsites.net",
    ".blob.core.windows.net",
    ".web.core.windows.net",
    ".azureedge.net",
    ".azurefd.net",
    ".netlify.app",
    ".vercel.app",
    ".herokuapp.com",
    ".glitch.me",
    ".weebly.com",
    ".weeblysite.com",
    ".wixsite.com",
    ".godaddysites.com",
    ".square.site",
    ".webflow.io",
    ".000webhostapp.com",
    ".ngrok.io",
    ".ngrok-free.app",
    ".trycloudflare.com",
    ".repl.co",
    ".surge.sh",
    ".on.fleek.co",
    ".ipfs.dweb.link",
    ".amplifyapp.com",
    ".onrender.com",
    ".fly.dev",
    ".translate.goog",
    ".myportfolio.com",
    ".notion.site",
    ".carrd.co",
    ".jimdosite.com",
    ".strikingly.com",
    ".yolasite.com",
    ".framer.app",
)
#: hosts of cloud providers' file stores
BUCKETS = (
    "storage.googleapis.com",
    "s3.amazonaws.com",
    "firebasestorage.googleapis.com",
    "ipfs.io",
    "objectstorage.",
    "storage.cloud.google.com",
    "linodeobjects.com",
    "digitaloceanspaces.com",
)
#: domains that give an address to anyone
FREEMAIL = frozenset(
    [
        "gmail.com",
        "googlemail.com",
        "yahoo.com",
        "yahoo.co.uk",
        "yahoo.fr",
        "yahoo.de",
        "yahoo.es",
        "yahoo.com.br",
        "ymail.com",
        "rocketmail.com",
        "hotmail.com",
        "hotmail.co.uk",
        "hotmail.fr",
        "outlook.com",
        "outlook.fr",
        "live.com",
        "msn.com",
        "aol.com",
        "gmx.com",
        "gmx.de",
        "gmx.net",
        "web.de",
        "mail.com",
        "mail.ru",
        "yandex.com",
        "yandex.ru",
        "rambler.ru",
        "inbox.ru",
        "protonmail.com",
        "proton.me",
        "pm.me",
        "tutanota.com",
        "tuta.io",
        "icloud.com",
        "me.com",
        "zoho.com",
        "qq.com",
        "163.com",
        "126.com",
        "sina.com",
        "foxmail.com",
        "libero.it",
        "email.com",
        "usa.com",
        "consultant.com",
        "execs.com",
        "netscape.net",
        "lycos.com",
        "excite.com",
        "aim.com",
        "freenet.de",
        "t-online.de",
        "laposte.net",
        "orange.fr",
        "wp.pl",
        "o2.pl",
        "seznam.cz",
        "uol.com.br",
        "bol.com.br",
        "naver.com",
        "hanmail.net",
        "fastmail.com",
        "hushmail.com",
        "btamail.net.cn",
        "caramail.com",
        "eudoramail.com",
    ]
)


@lru_cache(maxsize=4096)
def random_looking(token: str, changes: int = 2) -> bool:
    """Return whether a word looks made up by a program: mixed case inside, digits inside, or no vowels."""
    if len(token) < 4 or token.isdigit():
        return False
    letters = [c for c in token if c.isalpha()]
    if any(c.isdigit() for c in token) and len(letters) >= 2:
        seen = sum(a.isdigit() != b.isdigit() for a, b in pairwise(token))
        return seen >= changes or (len(token) >= 8 and changes < 3)
    inner = sum(a.islower() and b.isupper() for a, b in pairwise(token))
    if inner >= 2:
        return True
    return len(letters) >= 5 and not any(c in _VOWELS for c in letters)
