"""Every shipped rule does what its own examples say, and explains itself."""

from __future__ import annotations

from typing import Any

import pytest

from screening.mail import Mail
from screening.rule import Example, Mode, Rule
from screening.ruleset import Ruleset, default_part, load
from screening.tuning.examples import mail_of
from screening.tuning.replay import rescored

SHIPPED = load()
CASES = [
    pytest.param(rule, example, should, id=f"{rule.id}-{'hits' if should else 'misses'}-{number}")
    for rule in SHIPPED.rules
    for should in (True, False)
    for number, example in enumerate(rule.hits if should else rule.misses)
]


@pytest.mark.parametrize(("rule", "example", "should"), CASES)
def test_a_rule_does_what_its_examples_say(rule: Rule, example: Example, should: bool) -> None:  # noqa: FBT001 - a table's column
    ruleset = SHIPPED if rule.mode is not Mode.OFF else load(on=(rule.id,))
    verdict = ruleset.screen(mail_of(example, default_part(rule)))
    found = [hit for hit in verdict.hits if hit.rule == rule.id]
    assert bool(found) is should
    assert not verdict.unanswered
    for hit in verdict.hits:
        assert len(hit.evidence) <= 200
        assert hit.evidence.isprintable()


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in SHIPPED.rules])
def test_a_rule_is_documented_and_has_both_kinds_of_examples(rule: Rule) -> None:
    assert rule.why
    assert rule.why[0].isupper()
    assert rule.hits
    assert rule.misses
    assert 0 < abs(rule.score) <= 100


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.id) for rule in SHIPPED.rules])
def test_switching_a_rule_off_changes_the_verdict_on_its_written_case(rule: Rule) -> None:
    ruleset = SHIPPED if rule.mode is not Mode.OFF else load(on=(rule.id,))
    points = []
    for example in rule.hits:
        hits = ruleset.screen(mail_of(example, default_part(rule))).hits
        others = [hit for hit in hits if hit.rule != rule.id]
        alone = sum(hit.score for hit in rescored(others, ruleset))
        points.append(round(sum(hit.score for hit in hits) - alone, 2))
    assert any(points), "another rule of its group says it all already"


def test_there_are_at_least_eighty_rules(shipped: Ruleset) -> None:
    assert len(shipped.rules) >= 80


PHISH = {
    "from": "PayPal Service <security@billing-notice.example>",
    "to": "bob@shop.example",
    "subject": "Action required: your account has been limited",
    "html": (
        "<p>Dear customer,</p><p>we noticed unusual activity. Please confirm your identity within 24 "
        "hours or your account "
        "will be closed.</p><p><a href='https://paypal.com.account-check.xyz/login?e=bob@shop.example'>"
        "https://www.paypal.com/signin</a></p>"
    ),
}
BILL_SCAM = {
    "from": "Norton Team <kundenservice.4711@gmail.com>",
    "subject": "Invoice NP-8812 renewed",
    "text": (
        "Your Norton LifeLock subscription has been renewed and $399.99 was charged today. If you "
        "did not authorize this "
        "charge, to cancel the order please call our helpline at +1 (888) 555-0100 within 24 hours."
    ),
}
EXTORTION = {
    "from": "x <x@some.example>",
    "text": (
        "I hacked your device and recorded you through your webcam. I have your contacts. Send 950 "
        "USD in bitcoin to my "
        "bitcoin wallet within 48 hours or all your contacts will see the video."
    ),
}
FRAUD = {
    "from": "Mrs. Rebecca Withers <withers@office-mail.example>",
    "to": "undisclosed-recipients:;",
    "subject": "GET BACK TO ME",
    "headers": {"Reply-To": "rebecca.withers77@gmail.com"},
    "text": (
        "Dear beloved, this may come to you as a surprise. I am a widow with cancer; my late husband "
        "deposited the sum of "
        "$12,500,000.00 with a security company. I want you as next of kin and beneficiary, for "
        "charity and orphans. "
        "Strictly confidential: contact me with your full name and telephone number. God bless."
    ),
}


@pytest.mark.parametrize(
    ("example", "least"),
    [(PHISH, 12), (BILL_SCAM, 7), (EXTORTION, 7), (FRAUD, 7)],
    ids=["phish", "bill", "extortion", "fraud"],
)
def test_modern_fraud_is_caught_with_reasons(shipped: Ruleset, example: Example, least: float) -> None:
    verdict = shipped.screen(mail_of(example))
    assert verdict.score >= least, verdict.as_json()
    assert all(hit.evidence for hit in verdict.top)


ORDINARY: list[dict[str, Any]] = [
    {
        "subject": "Invoice 2024-118",
        "text": "Dear Mr. Jones,\nplease find attached our invoice. Kind regards\nAnna Weber",
        "files": {"Invoice-2024-118.pdf": "%PDF-1.4 text"},
    },
    {
        "subject": "Re: Meeting on Tuesday",
        "headers": {"In-Reply-To": "<1@shop.example>"},
        "text": "Tuesday at ten is fine.\n\nBob wrote:\n> shall we meet on Tuesday?",
    },
    {
        "subject": "Your order 4711 has shipped",
        "from": "Acme Shop <orders@acme.example>",
        "text": "Your order has shipped: https://www.acme.example/track/4711",
        "html": "<p>Your order has shipped. <a href='https://www.acme.example/track/4711'>Track it</a></p>",
    },
    {
        "subject": "Reset your password",
        "from": "Acme <no-reply@acme.example>",
        "text": "Somebody asked for a new password. Reset it here: https://app.acme.example/reset?t=Zm9vYmFy",
    },
    {
        "subject": "Spring news: 20 % off all garden tools",
        "from": "Acme Garden <news@acme.example>",
        "headers": {"List-Id": "<news.acme.example>", "List-Unsubscribe": "<https://acme.example/u/1>"},
        "text": "Our garden tools are 20 % off.\nUnsubscribe: https://acme.example/u/1",
        "html": "<p>Our garden tools are 20 % off. <a href='https://acme.example/shop'>To the shop</a>"
        "<img src='https://acme.example/a.png'> <a href='https://acme.example/u/1'>Unsubscribe</a></p>",
    },
    {
        "subject": "Gr\u00fc\u00dfe aus M\u00fcnchen",
        "text": "Liebe Kollegen,\nanbei die Bilder vom Ausflug.\nViele Gr\u00fc\u00dfe, J\u00fcrgen",
    },
    {
        "subject": "\u0412\u0441\u0442\u0440\u0435\u0447\u0430",
        "text": "\u0414\u043e\u0431\u0440\u044b\u0439 \u0434\u0435\u043d\u044c, Anna! \u0414\u043e "
        "\u0432\u0441\u0442\u0440\u0435\u0447\u0438.",
    },
    {
        "subject": "Cron <root@web1> backup",
        "from": "root <root@web1.acme.example>",
        "text": "backup finished, 3 files",
    },
    {
        "subject": "Feedback form",
        "from": "Website <form@acme.example>",
        "headers": {"Reply-To": "kunde@gmail.com"},
        "text": "Name: Kurt Kunde\nMail: kunde@gmail.com\nMessage: When do you open on Saturday?",
    },
]


@pytest.mark.parametrize("example", ORDINARY, ids=lambda example: str(example["subject"])[:20])
def test_ordinary_customer_mail_passes(shipped: Ruleset, example: Example) -> None:
    verdict = shipped.screen(mail_of(example))
    assert verdict.score < 4, verdict.as_json()
    assert verdict.malformed == ""


def test_screening_the_same_mail_twice_gives_the_same_verdict(shipped: Ruleset) -> None:
    mail: Mail = mail_of(PHISH)
    assert shipped.screen(mail).as_json() == shipped.screen(mail_of(PHISH)).as_json()
