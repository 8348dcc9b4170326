from __future__ import annotations

from pathlib import Path

import pytest

from screening.mail import Mail
from screening.rule import Rule, RuleError, rule
from screening.ruleset import Ruleset, load
from screening.scan import Patterns, gate
from tests.screening.mails import body, mail_of

WON = """
[rules.lottery_test]
why    = "Subject announces a lottery win"
score  = 3.5
when   = { subject = '(?i)\\byou(.ve| have)? won\\b' }
hits   = ["You have won!", "YOU WON 1,000,000"]
misses = ["Young wonders of the world"]
"""


@rule(score=1.0, hits=[{"subject": "bang"}], misses=[{"subject": "quiet"}])
def broken_on_request(mail: Mail) -> str | None:
    """Subject says bang, or the rule has a bug."""
    if mail.subject == "crash":
        raise ValueError("secret words of a bug")
    return "bang" if mail.subject == "bang" else None


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(RuleError) as caught:
        load(extra=[written(tmp_path, text)])
    return list(caught.value.faults)


def hits(ruleset: Ruleset, mail: Mail) -> dict[str, float]:
    return {hit.rule: hit.score for hit in ruleset.screen(mail).hits}


def test_a_rule_of_the_operator_counts_beside_the_shipped_ones(tmp_path: Path) -> None:
    ruleset = load(extra=[written(tmp_path, WON)])
    assert hits(ruleset, mail_of({"subject": "You have won a car"}))["lottery_test"] == 3.5
    assert ruleset.hash != load().hash
    assert ruleset.hash == load(extra=[tmp_path]).hash


def test_a_wrong_example_stops_loading(tmp_path: Path) -> None:
    assert faults(tmp_path, WON.replace("Young wonders", "you won")) == [
        "mine.toml: rules.lottery_test: example 'you won of the world' should miss"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[rules.Bad-Name]\nwhy='x'\nscore=1\ncondition='true'", "lower case letters"),
        ("[rules.abc]\nscore=1\ncondition='true'", "why: is missing"),
        ("[rules.abc]\nwhy='x'\nscore='1'\ncondition='true'", "score: '1' given"),
        ("[rules.abc]\nwhy='x'\nscore=1000\ncondition='true'", "score: 1000 given"),
        ("[rules.abc]\nwhy='x'\nscore=1", "needs when, words, domains or condition"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwhenn={subject='x'}", "did you mean when?"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwhen={topic='x'}", "unknown part 'topic'"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwhen={subject='(x'}", "pattern '(x'"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwhen={subject='(?=x)'}", "pattern"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwhen='x'", "is a table"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwords={text=['a'], at_least=0}", "at_least: 0 given"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwords={text='file:none.txt'}", "none.txt: cannot be read"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='linkcount > 2'", "did you mean link_count?"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='link_count >'", "condition: "),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='link_count + true'", "condition: "),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='abc'", "names itself"),
        ("[rules.abc]\nwhy='x'\nscore=1\nmode='maybe'\ncondition='true'", "mode: 'maybe' given"),
        ("[rules.abc]\nwhy='x'\nscore=1\ngroup='nope'\ncondition='true'", "has no cap"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='true'\nhits=[{colour='red'}]", "does not know 'colour'"),
        ("[rules.gtube]\nwhy='x'\nscore=1\ncondition='true'", "name is taken"),
        ("[groups]\nx=-1", "groups.x: -1 given"),
        ("[rule.abc]\nwhy='x'", "unknown table 'rule'"),
        ("[rules.abc\n", "cannot be read"),
        ("rules = 3", "is a table of rules"),
        ("[rules.abc]\nwhy='x'\nscore=nan\nwhen={subject='x'}", "score: nan given"),
        ("[groups]\nx=nan", "groups.x: nan given"),
        ("groups = 3", "is a table from a group to its cap"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwhen={subject=[]}", "subject: [] names nothing"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwords={text=[' ']}", "none of them blank"),
        ("[rules.abc]\nwhy='x'\nscore=1\nwords={text=['a'], at_least=2}", "text names 1 words"),
        ("[rules.abc]\nwhy='x'\nscore=1\ndomains='https://evil.example/'", "write it like evil.example"),
        ("[rules.abc]\nwhy='x'\nscore=1\ndomains='*.evil.example'", "write it like evil.example"),
        ("[rules.abc]\nwhy='x'\nscore=1\ndomains='evil.example # since May'", "write it like evil.example"),
        ("[rules.link_count]\nwhy='x'\nscore=1\nwhen={subject='x'}", "has a meaning of its own"),
        ("[rules.malformed]\nwhy='x'\nscore=1\nwhen={subject='x'}", "has a meaning of its own"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='1 / 0 > 0'", "condition: division by zero"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='[1][5] == 2'", "condition: index out of bounds"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='int(1e300) > 1'", "condition: "),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='true'\nhits=[{headers='x'}]", "headers cannot be 'x'"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='true'\nhits=[{files={a='hex:zz'}}]", "files cannot be"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='true'\nhits=[{recipients=5}]", "recipients cannot be 5"),
        ("[rules.abc]\nwhy='x'\nscore=1\ncondition='true'\nhits=[{text=5}]", "text cannot be 5"),
    ],
)
def test_each_fault_is_said(tmp_path: Path, text: str, fault: str) -> None:
    assert fault in "\n".join(faults(tmp_path, text))


def test_patterns_that_are_too_large_together_are_refused_by_the_largest(tmp_path: Path) -> None:
    many = ", ".join(f"'a{number}[^x]{{900}}b'" for number in range(300))
    text = f"[rules.abc]\nwhy='x'\nscore=1\nwhen={{text=[{many}]}}"
    assert "rules.abc: text: all patterns of this part need more than 64 MiB" in faults(tmp_path, text)[0]


def test_a_list_that_is_empty_does_not_widen_its_rule(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nobody\n  # yet\n")
    text = "[rules.abc]\nwhy='x'\nscore=1\nwhen={subject='x'}\ndomains='file:none.txt'"
    assert "domains: 'file:none.txt' names nothing" in faults(tmp_path, text)[0]


@pytest.mark.parametrize("written", ["Evil.Example", "evil.example.", "\ufeffevil.example"])
def test_domains_are_compared_as_links_write_them(tmp_path: Path, written: str) -> None:
    (tmp_path / "list.txt").write_text(f"{written}\n", encoding="utf-8")
    file = tmp_path / "own.toml"
    hit = "hits=[{text='Log in at https://www.evil.example/ now'}]"
    file.write_text(f"\ufeff[rules.abc]\nwhy='x'\nscore=1\ndomains='file:list.txt'\n{hit}", encoding="utf-8")
    assert load(extra=[file])


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    text = "[rules.abc]\nscore='1'\ncondition='true'\n[rules.xyz]\nwhy='x'\nscore=1\nwhen={subject='('}\n"
    assert len(faults(tmp_path, text)) == 3


def test_a_circle_of_conditions_is_a_fault(tmp_path: Path) -> None:
    text = "[rules.aaa]\nwhy='x'\nscore=1\ncondition='bbb'\n[rules.bbb]\nwhy='x'\nscore=1\ncondition='aaa'\n"
    assert "circle" in "\n".join(faults(tmp_path, text))


def test_conditions_come_after_the_rules_they_name(tmp_path: Path) -> None:
    text = (
        "[rules.aaa]\nwhy='x'\nscore=1\ncondition='bbb && link_count == 1'\n"
        "[rules.bbb]\nwhy='x'\nscore=1\nwhen={subject='deal'}\ncondition='!is_reply'\n"
    )
    ruleset = load(extra=[written(tmp_path, text)])
    found = hits(ruleset, mail_of({"subject": "deal", "text": "https://acme.example/"}))
    assert {"aaa", "bbb"} <= found.keys()
    answer = mail_of(
        {"subject": "deal", "text": "https://acme.example/", "headers": {"In-Reply-To": "<1@a.example>"}}
    )
    assert not {"aaa", "bbb"} & hits(ruleset, answer).keys()


def test_words_are_found_whole_and_counted(tmp_path: Path) -> None:
    text = "[rules.abc]\nwhy='x'\nscore=1\nwords={text=['red car','blue','green'], at_least=2}\n"
    ruleset = load(extra=[written(tmp_path, text)])
    assert "abc" in hits(ruleset, body(b"A RED car and a Blue one"))
    assert "abc" not in hits(ruleset, body(b"blue bluest greenish blue"))


def test_unless_and_domains(tmp_path: Path) -> None:
    text = "[rules.abc]\nwhy='x'\nscore=1\ndomains=['shop.example']\nunless={text='thank'}\n"
    ruleset = load(extra=[written(tmp_path, text)])
    assert "abc" in hits(ruleset, body(b"see https://www.shop.example/a"))
    assert "abc" not in hits(ruleset, body(b"thank you https://www.shop.example/a"))
    assert "abc" not in hits(ruleset, body(b"see https://notshop.example/a"))


def test_scores_off_and_shadow_change_rules(tmp_path: Path) -> None:
    path = written(tmp_path, WON)
    won = mail_of({"subject": "You won"})
    assert hits(load(extra=[path], scores={"lottery_test": 9}), won)["lottery_test"] == 9
    assert "lottery_test" not in hits(load(extra=[path], off=["lottery_test"]), won)
    assert hits(load(extra=[path], shadow=["lottery_test"]), won)["lottery_test"] == 0
    with pytest.raises(RuleError, match="did you mean lottery_test"):
        load(extra=[path], off=["lottery_tets"])


def test_a_group_never_adds_more_than_its_cap(tmp_path: Path) -> None:
    text = "[groups]\ncapped=4\n" + "".join(
        f"[rules.ab{n}]\nwhy='x'\nscore=3\ngroup='capped'\nwhen={{subject='deal'}}\n" for n in "xyz"
    )
    found = hits(load(extra=[written(tmp_path, text)]), mail_of({"subject": "deal"}))
    assert sorted(found[f"ab{n}"] for n in "xyz") == [0, 1, 3]


def test_a_rule_that_fails_is_unanswered_and_the_others_go_on() -> None:
    ruleset = load(python_rules=[broken_on_request])
    verdict = ruleset.screen(mail_of({"subject": "crash"}))
    assert verdict.unanswered == ("broken_on_request",)
    assert "secret" not in repr(verdict)
    assert "broken_on_request" in hits(ruleset, mail_of({"subject": "bang"}))


def test_python_rules_of_strangers_are_loaded_only_by_name() -> None:
    with pytest.raises(RuleError, match="no installed package offers 'nobody'"):
        load(python_rules=["nobody"])
    assert all(isinstance(rule, Rule) for rule in load().rules)


def test_a_malformed_mail_scores_as_refused(shipped: Ruleset) -> None:
    verdict = shipped.screen(body(b"a\0b"))
    assert verdict.malformed
    assert verdict.score >= 12


@pytest.mark.timeout(5)
def test_re24_no_pattern_can_take_more_than_linear_time(tmp_path: Path) -> None:
    text = "[rules.abc]\nwhy='x'\nscore=1\nwhen={text='(a+)+$'}\nunless={text='!'}\n"
    ruleset = load(extra=[written(tmp_path, text)])
    assert "abc" not in hits(ruleset, body(b"a" * 100_000 + b"!"))


def test_a_verdict_times_its_rules(shipped: Ruleset) -> None:
    verdict = shipped.screen(body(b"hello"), timed=True)
    assert verdict.ruleset == shipped.hash
    assert {"patterns", "checks", "conditions", "gtube"} <= verdict.timings.keys()
    assert "gtube" not in shipped.screen(body(b"hello")).timings


def test_a_rule_is_asked_only_where_the_mail_has_what_it_needs(shipped: Ruleset) -> None:
    plain, linked = body(b"hello"), body(b"hello https://acme.example/")
    assert "brand_in_host" not in shipped.screen(plain, timed=True).timings
    assert "brand_in_host" in shipped.screen(linked, timed=True).timings


def test_a_rule_that_needs_what_no_mail_has_is_refused() -> None:
    @rule(score=1.0, needs=("links", "moonlight"))
    def lunatic(mail: Mail) -> str | None:
        """Never asked."""
        return mail.subject

    with pytest.raises(RuleError, match=r"rules\.lunatic: needs 'moonlight'"):
        load(python_rules=[lunatic])


@pytest.mark.parametrize(
    ("pattern", "alone"),
    [
        (r"\bpay\b.{0,80}\bnow\b", r"\bpay\b"),
        (r"(a|b) c.{0,80}(d|e)", "(a|b) c"),
        (r"abc|de.{0,80}f", r"abc|de.{0,80}f"),
        (r"abcd.{0,80}f|x", r"abcd.{0,80}f|x"),
        (r"(abc.{0,80}f)", r"(abc.{0,80}f)"),
        (r"[.{0,|]abc.{0,9}x", r"[.{0,|]abc"),
        (r"abc\|d.{0,9}x", r"abc\|d"),
        ("plain", "plain"),
    ],
)
def test_wide_gaps_are_looked_at_only_behind_their_gate(pattern: str, alone: str) -> None:
    assert gate(pattern) == alone


def test_a_gated_pattern_matches_as_a_whole() -> None:
    patterns = Patterns([r"\bpay\b.{0,20}\bnow\b", "pay"])
    assert patterns.found("pay the bill now") == [0, 1]
    assert patterns.found("pay") == [1]
    assert patterns.evidence(0, "please pay it now") == "pay it now"
    assert patterns.found("") == []
