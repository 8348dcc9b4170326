"""Why mail bounced, from the enhanced status and the words of the other side: one table, first match wins."""

from __future__ import annotations

import re
from functools import lru_cache

#: (reason, permanent, words); order matters: what is said of the content comes before the address
_WORDS: tuple[tuple[str, bool, tuple[str, ...]], ...] = (
    ("reputation", True, (
        r"black ?list|block ?list|\bdnsbl\b|\brbl\b|spamhaus|spamcop|barracuda|reputation|poor ip",
        r"sender(?:'s)? ip",
        r"(?<!not )listed (?:at|in|by)|\bsenderscore\b",
    )),
    ("spam block", True, (
        r"spam|junk mail|unsolicited|bulk mail|uri?bl|content (?:was )?(?:rejected|refused)",
        r"message (?:content )?rejected (?:due to|for) (?:content|policy)|bayes|blacklisted url",
    )),
    ("mailbox full", False, (
        r"quota|mailbox (?:is )?full|full mailbox|exceed(?:s|ed)? (?:the )?(?:storage|mailbox)",
        r"over ?(?:the )?(?:limit|quota)|insufficient (?:disk|storage|system storage)|mailfolder is full",
        r"not enough (?:disk |storage )?space|space not enough|przekroczon|too many messages on",
        r"zu ?viele mails",
        r"exceed\w* (?:its |the |his |her )?(?:disk|allowed|storage|mail) ?(?:space|size|limit|quota)?",
        r"(?:mailbox|mailfolder|account|inbox) (?:\S+ )?(?:is |are )?(?:too )?full|mailbox size limit",
        r"exceeded the local limit",
        r"postfach .{0,40}voll|bo[iî]te .{0,40}pleine|buz[oó]n .{0,20}lleno|caixa .{0,30}cheia",
        r"casella .{0,20}piena",
        r"переполнен|容量|已满|已滿|いっぱい|가득",
    )),
    ("too large", True, (
        r"too (?:large|big)|size limit|exceeds? (?:the )?(?:maximum|size|limit|fixed)|message size",
        r"larger than",
    )),
    ("invalid recipient", True, (
        r"user(?:name)? (?:is )?(?:unknown|not (?:known|found|exist|listed|local|active))",
        r"unknown (?:user|recipient|address|mailbox|local|account|or illegal)",
        r"no such (?:user|mailbox|recipient|address|account|person|name|local)|no mailbox",
        r"does(?:n't| not) (?:exist|have (?:an|a) )",
        r"(?:mailbox|recipient|address|account|user|login)(?: address)?(?: [\w.@<>\"'()+=-]{1,320})? "
        r"(?:(?:is |was |has been )?(?:unavailable|not found|unknown|invalid|disabled|inactive|deactivated|"
        r"closed|suspended|rejected|discontinued|not available|non-?existent|not valid|not a valid|no longer|"
        r"not listed|not exist|unrouteable|undeliverable))",
        r"invalid (?:mailbox|recipient|address|user)|no account|bad destination mailbox|not listed in",
        r"ambiguous",
        r"not (?:our|a valid) (?:customer|user|recipient|mailbox|address)|unrouteable address",
        r"undeliverable address|no valid recipients|delivery to the following recipients? failed",
        r"nie istnieje|nieznany|inconnu|unbekannt|existiert nicht|n'existe pas|introuvable|no existe",
        r"desconocid|non esiste|sconosciuto|n\S{1,2}o existe|bestaat niet|onbekend",
        r"couldn't find any|unknown or|addressee unknown",
        r"account expired|not recogni[sz]ed|mail drop|\bno local\b|bad[_ ]recipient",
        r"invalid final delivery userid",
        r"not an? (?:known|active|registered|valid|current|local) (?:\w+ )?"
        r"(?:user|address|mailbox|account|recipient)",
        r"deactivated (?:mailbox|account|user)|no mail ?box|did not exactly match|no matches",
        r"not known (?:at|here)",
        r"(?:isn't|is not) (?:a |an )?(?:known|active|valid|listed)|unroutable address",
        r"user .{0,40}doesn't have",
        r"inesistente|inexistente|neexistuje|finns inte|finnes ikke|findes ikke|bulunamad|nem létez",
        r"ismeretlen",
        r"(?:пользовател|получател|адрес|ящик)\S* .{0,40}не (?:найден|существует)|нет такого|неизвестн",
        r"不存在|没有此用户|無此|存在しません|見つかりません|없는 사용자|존재하지",
    )),
    ("bad domain", True, (
        r"host (?:or domain name )?(?:not found|unknown)|unknown host|no such (?:domain|host)|host unknown",
        r"domain (?:name )?(?:not|does)|name service error|nxdomain|unrouteable mail domain",
        r"relay(?:ing)? (?:is )?(?:denied|not)|rcpthosts|not (?:an? )?(?:allowed|open) (?:to )?relay",
        r"name or service not known|(?:use|using) (?:me|us|this) .{0,200}as a relay|as a relay, but",
        r"unable to relay|can(?:not|'t) relay|relay access denied|bad name|malformed|mail loop",
        r"too many hops",
    )),
    ("rate", False, (
        r"too many (?:messages|connections|recipients|emails)|rate ?limit|throttl|try again later",
        r"slow down",
        r"temporarily (?:deferred|rejected|limited)|exceeded .{0,40}per (?:hour|day|minute)",
    )),
    ("authentication", True, (
        r"\bspf\b|\bdkim\b|\bdmarc\b|not authenticated|unauthenticated|sender id",
    )),
    ("policy", True, (
        r"policy|prohibited|not allowed|administrative|access denied|refused|denied|rejected",
        r"attachment|virus|infected|whitelist|challenge|not accepting mail (?:from|with)",
        r"not (?:pre-?)?approved",
    )),
    ("network", False, (
        r"connection (?:timed? ?out|refused|reset|dropped)|connect to|could not (?:be )?connect",
        r"timed? ?out",
        r"no route|unreachable|no answer|lost connection|retry time|still (?:trying|being retried)|delayed",
        r"not yet been delivered|has not been|(?:is )?not respond|network problem|will be retried|attempts",
        r"service (?:is )?(?:currently |temporarily )?(?:un|not )available|verz[oö]gert|retard|ritard",
        r"задерж|遅延|延迟",
    )),
)  # fmt: skip
_TABLE = tuple(
    (reason, permanent, re.compile("|".join(words), re.IGNORECASE)) for reason, permanent, words in _WORDS
)
#: subject.detail of the enhanced status (RFC 3463 and the IANA registry)
_STATUS = {
    "1.0": "invalid recipient", "1.1": "invalid recipient", "1.2": "bad domain", "1.3": "invalid recipient",
    "1.4": "invalid recipient", "1.6": "invalid recipient", "1.10": "bad domain",
    "2.0": "invalid recipient", "2.1": "invalid recipient", "2.2": "mailbox full", "2.3": "too large",
    "3.1": "mailbox full", "3.4": "too large", "4.0": "network", "4.1": "network", "4.2": "network",
    "4.3": "bad domain", "4.4": "bad domain", "4.5": "rate", "4.6": "bad domain", "4.7": "network",
    "5.3": "rate", "7.1": "policy", "7.2": "policy", "7.20": "authentication", "7.21": "authentication",
    "7.22": "authentication", "7.23": "authentication", "7.24": "authentication", "7.25": "reputation",
    "7.26": "authentication", "7.27": "bad domain", "7.28": "rate",
}  # fmt: skip
#: statuses so exact that words beside them do not matter
_EXACT = frozenset(("1.1", "1.2", "2.1", "2.2", "2.3", "3.1", "3.4", "4.4", "4.6"))
_CODE = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?<![\d.])([45])\d\d(?=[ \-])")
#: RFC 3463 classes whose words say permanent whatever the number is
INVALID = "invalid recipient"


def enhanced(text: str) -> str:
    """Return the first enhanced status in a text, "" if there is none."""
    found = _CODE.search(text[:2000])
    return found[0] if found else ""


@lru_cache(maxsize=512)
def classify(status: str, words: str) -> tuple[str, bool]:
    """Return the reason and whether trying again is useless; ("unknown", …) where nothing matches."""
    words = words[:4000]
    status = status or enhanced(words)
    kind = status[:1]
    detail = status[2:]
    if kind not in ("2", "4", "5"):
        reply = _REPLY.search(words)
        kind = reply[1] if reply else ""
    reason, permanent = _STATUS.get(detail, ""), True
    if detail not in _EXACT:
        for name, lasting, pattern in _TABLE:
            if pattern.search(words):
                reason, permanent = name, lasting
                break
    if kind in ("4", "5"):
        permanent = kind == "5" and reason != "mailbox full"
    elif reason in ("mailbox full", "rate", "network"):
        permanent = False
    return reason or "unknown", permanent
