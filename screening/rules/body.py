"""The shown text and the HTML that carries it."""

from __future__ import annotations

import re

import re2

from screening.mail import Mail
from screening.plain import mixed_words
from screening.rule import rule

_STYLED = re.compile("[\U0001d400-\U0001d7ff\u24b6-\u24e9]{3,}")
_INVISIBLE_RUN = re.compile(
    "(?<=[a-zA-Z])[\u00ad\u200b-\u200d\u2060\ufeff\u034f\U000e0020-\U000e01ef]+(?=[a-zA-Z])"
)
_ENTITY = re.compile(r"&#x?[0-9a-fA-F]{2,6};")


@rule(
    needs="odd letters",
    score=2.5,
    group="disguise",
    hits=[{"text": "Your p\u0430rcel could n\u043et be deliv\u0435red"}],
    misses=[{"text": "\u041f\u0440\u0438\u0432\u0435\u0442, Anna! See you in Berlin."}],
)
def mixed_script_text(mail: Mail) -> str | None:
    """The text mixes Latin with lookalike letters of another script inside words."""
    words = mixed_words(mail.text[:50_000]) if "scripts" in mail.letters else []
    return ", ".join(words) if len(words) >= 3 else None


@rule(
    needs="odd letters",
    score=2.5,
    group="disguise",
    hits=[{"text": "\U0001d402\U0001d425\U0001d41a\U0001d422\U0001d426 it"}],
    misses=[{"text": "Claim it"}],
)
def styled_text(mail: Mail) -> str | None:
    """The text is written in mathematical or circled letters, to escape filters."""
    found = _STYLED.search(mail.text) if "styled" in mail.letters else None
    return found[0] if found is not None else None


@rule(
    needs="odd letters",
    score=2.0,
    group="disguise",
    hits=[{"text": "pa\u200bss\u200bword re\u200bset for your ac\u200bcount no\u200bw"}],
    misses=[{"text": "password reset"}],
)
def invisible_text(mail: Mail) -> str | None:
    """Words of the text are cut by characters that nobody can see."""
    found = _INVISIBLE_RUN.findall(mail.text[:50_000]) if "invisible" in mail.letters else []
    return f"{len(found)} places" if len(found) >= 4 else None


@rule(
    needs="html",
    score=1.5,
    group="disguise",
    hits=[{"html": "Hello<div style='display:none'>" + "weather garden bicycle " * 20 + "</div>"}],
    misses=[{"html": "Hello<div style='display:none'>See inside for our spring offers</div>"}],
)
def hidden_text(mail: Mail) -> str | None:
    """The HTML holds a long text that readers cannot see."""
    hidden = mail.view.hidden
    return hidden if len(hidden) > 350 and len(hidden) * 3 > len(mail.view.text) else None


@rule(
    needs=("html", "links"),
    score=1.0,
    hits=[{"html": '<a href="https://a.example/x"><img src="https://a.example/b.png"></a>'}],
    misses=[{"html": "<p>" + "A letter of several lines, with a picture. " * 8 + '<img src="cid:1">'}],
)
def picture_letter(mail: Mail) -> str | None:
    """The mail is a picture with a link and next to no text."""
    view = mail.view
    if not view.images or not mail.clickable or len(view.text) > 200 or len(mail.plain) > 300:
        return None
    return f"{view.images} pictures, {len(view.text)} characters"


@rule(
    needs=("html", "links"),
    score=0.8,
    hits=[{"html": "<p>Hello <a href='https://a.example/'>there</a></p>"}],
    misses=[{"html": "<p>Hello</p>", "text": "Hello"}],
)
def html_only(mail: Mail) -> str | None:
    """There is HTML with links and no plain text beside it."""
    return "no text/plain part" if mail.html and not mail.plain.strip() and mail.clickable else None


@rule(
    needs="html",
    score=1.5,
    hits=[{"text": " ", "html": "<p>" + "Claim your reward today. " * 10 + "</p>"}],
    misses=[{"text": "Claim your reward", "html": "<p>Claim your reward</p>"}],
)
def empty_plain_part(mail: Mail) -> str | None:
    """The plain text part is there, but empty, beside HTML that says something."""
    if not mail.html or len(mail.view.text) < 80:
        return None
    plains = [part for part in mail.parts if part.media_type == "text/plain" and part.disposition == ""]
    return "empty text/plain part" if plains and not mail.plain.strip() else None


@rule(
    needs="html",
    score=1.8,
    group="disguise",
    hits=[
        {
            "text": "garden weather bicycle window " * 12,
            "html": "<p>" + "Claim your casino bonus money today " * 8,
        }
    ],
    misses=[{"text": "Claim your bonus " * 20, "html": "<p>" + "Claim your bonus " * 20}],
)
def parts_disagree(mail: Mail) -> str | None:
    """The plain text and the HTML say quite different things."""
    if len(mail.plain) < 150 or not mail.html or len(mail.view.text) < 150 or mail.attachments:
        return None
    plain = set(mail.plain[:6000].lower().split())
    if len(plain.intersection(mail.view.text[:1000].lower().split())) * 5 >= len(plain):
        return None  # no need to look at all of it
    rich = set(mail.view.text[:6000].lower().split())
    common = len(plain & rich)
    return f"{common} words in common" if common * 5 < min(len(plain), len(rich)) else None


@rule(
    needs="html comment",
    score=0.8,
    group="disguise",
    hits=[{"html": "<p>Buy</p>" + "<!-- the quick brown garden weather -->" * 30}],
    misses=[{"html": "<p>Hello</p><!-- footer -->"}],
)
def stuffed_comments(mail: Mail) -> str | None:
    """Prose is hidden in HTML comments."""
    if "<!--" not in mail.html:
        return None
    comments = [piece.partition("-->")[0] for piece in mail.html[:100_000].split("<!--")[1:]]
    if sum(map(len, comments)) <= 800:
        return None
    prose = sum(len(text) for text in comments if not ("<" in text or "{" in text or "[" in text))
    return f"{prose} characters in comments" if prose > 800 else None


@rule(
    needs="html entity",
    score=0.5,
    group="disguise",
    hits=[{"html": "".join(f"&#{ord(c)};" for c in "Confirm your password at once, please do it now.")}],
    misses=[{"html": "<p>Fish &amp; chips &#8211; today</p>"}],
)
def text_in_entities(mail: Mail) -> str | None:
    """Ordinary letters are written as HTML entities, to escape filters."""
    if mail.html.count("&#") < 30:
        return None
    codes = _ENTITY.findall(mail.html[:100_000])
    plain = sum(1 for code in codes if _code(code) in range(0x41, 0x7B))
    return f"{plain} letters" if plain >= 30 else None


def _code(entity: str) -> int:
    digits = entity[2:-1]
    return int(digits[1:], 16) if digits[:1] in "xX" else int(digits, 10) if digits.isdigit() else 0


@rule(
    needs="active html",
    score=2.5,
    hits=[{"html": "<form action='https://a.example/'><input type=password name=p></form>"}],
    misses=[{"html": "<p>Your password form</p>"}],
)
def password_form(mail: Mail) -> str | None:
    """The mail itself contains a form that asks for a password."""
    for name in mail.view.inputs:
        if "password" in name or "passwd" in name:
            return name
    return None


@rule(
    needs="active html",
    score=0.5,
    hits=[{"html": "<form action='https://a.example/'><input name=q></form>"}],
    misses=[{"html": "<p>Fill in the form on our site</p>"}],
)
def form_in_mail(mail: Mail) -> str | None:
    """The mail contains a form."""
    return f"{mail.view.forms} forms" if mail.view.forms else None


@rule(
    needs="active html",
    score=1.5,
    hits=[{"html": "<script>document.location='x'</script><p>Hello</p>"}],
    misses=[{"html": "<p>Hello</p>"}],
)
def script_in_mail(mail: Mail) -> str | None:
    """The mail contains a script, which no mail program runs for good reasons."""
    return f"{mail.view.scripts} scripts" if mail.view.scripts else None


@rule(
    needs="active html",
    score=3.0,
    hits=[{"html": "<meta http-equiv=refresh content='0; url=https://a.example/'>"}],
    misses=[{"html": "<meta http-equiv=content-type content='text/html'>"}],
)
def refresh_in_mail(mail: Mail) -> str | None:
    """The mail tries to send its reader to another page at once."""
    return mail.view.refresh or None


@rule(
    needs="oddities",
    score=1.5,
    hits=[
        {
            "raw": "From: a@acme.example\nSubject: x\nContent-Type: multipart/mixed; boundary=b\n\n"
            + "Call us at https://a.example/ " * 3
            + "\n--b\n\nhello\n--b--\n"
        }
    ],
    misses=[{"text": "hello"}],
)
def text_before_parts(mail: Mail) -> str | None:
    """Text stands before the message's first part, where only some programs show it."""
    return "text before the first part" if "text before the parts" in mail.oddities else None


@rule(
    needs="oddities",
    score=1.2,
    hits=[{"raw": "From: a@acme.example\nSubject: x\nContent-Type: multipart/mixed\n\nhello\n"}],
    misses=[{"text": "hello"}],
)
def broken_mime(mail: Mail) -> str | None:
    """The structure is broken in a way that hides content from some programs."""
    odd = mail.oddities & _BROKEN
    return ", ".join(sorted(odd)) if odd else None


_BROKEN = frozenset(
    [
        "multipart without boundary",
        "boundary never used",
        "base64 after its end",
        "unknown transfer encoding",
        "bad content type",
        "encoded message",
    ]
)


@rule(
    score=1.0,
    hits=[{"text": "<html><body><p>Dear client, <a href='https://a.example/'>log in</a></p></body></html>"}],
    misses=[{"text": "Use <p> for paragraphs."}],
)
def html_as_plain(mail: Mail) -> str | None:
    """A part labelled plain text is HTML."""
    start = mail.plain[:300].lstrip().lower()
    tagged = start.startswith(
        ("<html", "<!doctype", "<p>", "<p ", "<div", "<body", "<table", "<center", "<xml", "<head", "<meta")
    )
    return start[:60] if tagged and "</" in mail.plain else None


@rule(
    needs=("hosts", "no answer"),
    score=1.2,
    hits=[{"text": "Hi https://x.example/a"}],
    misses=[
        {"text": "Hi https://www.acme.example/a"},
        {"text": "Hi https://x.example/", "headers": {"In-Reply-To": "<1@x.example>"}},
    ],
)
def little_text_foreign_link(mail: Mail) -> str | None:
    """A few words and a link that is not the sender's, out of the blue."""
    if mail.has("in-reply-to") or mail.has("references") or len(mail.folded) > 250 or mail.has("list-id"):
        return None
    hosts = {link.domain for link in mail.clickable if link.domain}
    if len(hosts) != 1 or mail.author_domain in hosts:
        return None
    return next(iter(hosts))


@rule(
    score=2.5,
    hits=[
        {"text": "Username: www.free-btc.example - 1.330 BTC"},
        {"text": "Hola gana 500$ en https://x.example/, gracias por registrarse"},
    ],
    misses=[{"text": "Hello Anna, see https://acme.example/"}, {"text": "Hi Bob,\nhttps://acme.example/"}],
)
def link_in_name_field(mail: Mail) -> str | None:
    """A web form's field for a name was filled with a link or money."""
    start = mail.folded[:600]
    low = start.lower()
    if "://" not in low and "www." not in low and "bitcoin" not in low and "btc" not in low:
        return None
    found = _FORM_NAME.search(start) if _FORM_START.Match(start) else None
    return found[0] if found is not None else None


#: how a form's text starts, in one linear pass
_FORM_START = re2.Set.SearchSet()
_FORM_START.Add(
    r"(?i)(?:login|name|nombre|nom|nome) ?:|^(?:hi|hello|hola|dear|welcome|bonjour|ol\x{e1}|hallo|thank you)"
)
_FORM_START.Compile()
_FORM_NAME = re.compile(
    r"\b(?:user ?name|login|name|nombre|nom|nome)\s*:\s*[^:]{0,60}?(?:https?://|www\.|\bbtc\b|\bbitcoin)"
    r"|^(?:hi|hello|hola|dear|welcome|bonjour|ol\u00e1|hallo|thank you)\W+"
    r"(?=[^.!?\n]{0,120}(?:\$|\u20ac|btc|\u7f51|win|gana|free|\d%))"
    r"[^.!?\n]{0,120}?(?:https?://|www\.)",
    re.IGNORECASE,
)
