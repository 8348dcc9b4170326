"""Says why: makes a decision again from its stored evidence, and counts the evidence again in the rows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from policies import ladder as ladders
from relay.clock import micros, moment
from relay.errors import NotFound
from relay.feedback.judge import fingerprint
from relay.model import Grade
from relay.store import accounts, audit, complaints, decisions, journal, tallies
from relay.store.schema import message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

    from relay.store.decisions import Case

#: A message may be journalled so long after it was taken in that it missed a decision.
_DOUBT = timedelta(minutes=2)
_AUDIT_ROWS = 2000
_ADDRESS = re.compile(r"[^\s<>@,;:\"()]{1,64}@[\w.-]{1,253}\w")


def explain(tx: Connection, identifier: str) -> dict[str, Any]:
    """Return why a case was decided, or what became of a message; NotFound for neither.

    A case that policy decided has `same`: whether its stored numbers lead to the stored decision again and
    agree with the stored rows; `differences` names what does not.
    """
    plain = identifier.strip().lower()
    try:
        return _case(tx, decisions.case(tx, plain))
    except NotFound:
        pass
    row = journal.message(tx, plain)
    if row is None:
        raise NotFound(f"there is no case and no message {identifier}")
    login = accounts.logins(tx, [row.account_id]).get(row.account_id, "")
    return {
        "id": row.id,
        "kind": "message",
        "at": row.at.isoformat(),
        "login": login,
        "action": row.action,
        "outcome": row.outcome,
        "score": row.score,
        "hits": list(row.hits),
        "malformed": row.malformed,
        "unanswered": list(row.unanswered),
        "reply": f"{row.reply_code} {row.reply_text}".strip(),
        "recipients": row.recipient_count,
        "ruleset": row.ruleset,
        "stages": dict(row.stages),
        "reports": [
            {**report, "at": report["at"].isoformat()} for report in complaints.about_message(tx, row.id)
        ],
    }


def _case(tx: Connection, case: Case) -> dict[str, Any]:
    evidence = case.evidence
    found: dict[str, Any] = {
        "id": case.id,
        "kind": "case",
        "level": str(case.level),
        "subject": _subject(tx, case),
        "at": case.at.isoformat(),
        "step": case.step,
        "from": str(case.from_state),
        "to": str(case.to_state),
        "until": case.until.isoformat() if case.until else None,
        "reason": case.reason,
        "set_by": case.set_by,
        "evidence": dict(evidence),
    }
    if "ladder" not in evidence:
        return found
    differences = [*_against_itself(case), *_against_audit(tx, case), *_against_rows(tx, case)]
    recomputed = _recomputed(evidence)
    return {**found, "recomputed": recomputed, "same": not differences, "differences": differences}


def _subject(tx: Connection, case: Case) -> str:
    if case.level != "account":
        return f"{case.level} {case.subject_id}"
    return accounts.logins(tx, [case.subject_id]).get(case.subject_id, f"account {case.subject_id}")


def _recomputed(evidence: Mapping[str, Any]) -> dict[str, Any]:
    try:
        decision = ladders.recompute(evidence)
    except ladders.LadderError as error:
        return {"fault": str(error)}
    step = decision.action
    return {
        "step": step.name,
        "action": step.action.value,
        "until": step.until.isoformat() if step.until else None,
        "reason": decision.reason,
        "numbers": dict(decision.numbers),
    }


def _against_itself(case: Case) -> Iterator[str]:
    """Compare what the stored numbers lead to with what was decided."""
    evidence, again = case.evidence, _recomputed(case.evidence)
    if "fault" in again:
        yield str(again["fault"])
        return
    for name in ("action", "until", "reason"):
        if again[name] != evidence.get(name):
            yield f"{name}: decided {evidence.get(name)!r}, the stored numbers lead to {again[name]!r}"
    for name, number in evidence.get("numbers", {}).items():
        if again["numbers"].get(name) != number:
            yield f"{name}: stored {number!r}, computed again {again['numbers'].get(name)!r}"
    if (case.step, case.reason) != (again["step"], again["reason"]):
        said, says = f"{case.step}: {case.reason}", f"{again['step']}: {again['reason']}"
        yield f"the case says {said!r}, the numbers say {says!r}"
    votes = evidence.get("votes_by_reporter", {})
    numbers = evidence.get("numbers", {})
    if "votes" in numbers and sum(votes.values()) != numbers["votes"]:
        yield f"votes: {numbers['votes']} decided on, {sum(votes.values())} listed by reporter"


def _against_audit(tx: Connection, case: Case) -> Iterator[str]:
    """Compare the evidence with its fingerprint in the audit log, which is chained."""
    name = f"account {_subject(tx, case)}"
    for entry in audit.entries(tx, limit=_AUDIT_ROWS, object=name):
        if entry.details.get("case_id") == case.id and "evidence_sha256" in entry.details:
            if entry.details["evidence_sha256"] != fingerprint(case.evidence):
                yield "the evidence is not the one that the audit log names: it was altered"
            return
    yield "the audit log has no entry of this case"


def _against_rows(tx: Connection, case: Case) -> Iterator[str]:
    """Count votes and mail again in the stored rows, as far as those are still kept."""
    evidence = case.evidence
    try:
        since, at = datetime.fromisoformat(evidence["since"]), datetime.fromisoformat(evidence["at"])
        covered = evidence["covered"]
        hashes = None if covered is None else tuple(bytes.fromhex(one) for one in covered)
        cohort = {int(day): int(number) for day, number in evidence["cohort"].items()}
        ids = list(evidence["complaints"])
    except (KeyError, TypeError, ValueError, AttributeError):
        yield "the evidence cannot be read"
        return
    yield from _against_votes(tx, case, ids)
    yield from _against_cohort(tx, case, (since, at), hashes, cohort)


#: A decision counts what was recorded when its transaction began, which may be a little after its `at`.
_DECIDING = timedelta(seconds=10)


def _against_votes(tx: Connection, case: Case, ids: list[str]) -> Iterator[str]:
    rows = complaints.votes_of(tx, ids)
    standing: dict[str, int] = {}
    for row in rows:
        late = row.at_us > micros(case.at + _DECIDING)
        if row.account_id != case.subject_id or row.grade != Grade.A or late:
            yield f"the vote of complaint {row.complaint_id} is not as it was counted"
        standing[row.reporter] = standing.get(row.reporter, 0) + 1
    missing = set(ids) - {row.complaint_id for row in rows}
    if missing:
        some = ", ".join(sorted(missing)[:5])
        yield f"{len(missing)} complaints that were counted have no vote any more: {some}"
    for reporter, number in case.evidence["votes_by_reporter"].items():
        if len(ids) < 500 and standing.get(reporter, 0) < number:
            yield f"votes of {reporter}: {number} counted, {standing.get(reporter, 0)} stored"


def _against_cohort(
    tx: Connection,
    case: Case,
    span: tuple[datetime, datetime],
    covered: tuple[bytes, ...] | None,
    counted: Mapping[int, int],
) -> Iterator[str]:
    """Compare the denominator with the cohort counters, and those with the journal rows behind them."""
    since, at = span
    account_id, today = case.subject_id, micros(at) // journal.DAY_US
    stored = tallies.by_day(tx, account_id, min(counted, default=today), today, covered)
    for day, number in sorted(counted.items()):
        start, end = moment(day * journal.DAY_US), moment((day + 1) * journal.DAY_US)
        after, before = at + timedelta(microseconds=1), at - _DOUBT
        later = tallies.relayed_within(tx, account_id, after, end, covered) if day == today else 0
        doubt = tallies.relayed_within(tx, account_id, before, after, covered) if day == today else 0
        if not 0 <= stored.get(day, 0) - later - number <= doubt:
            yield f"relayed on {start:%Y-%m-%d}: {number} counted, {stored.get(day, 0)} stored"
        rows = tallies.relayed_within(tx, account_id, start, end, covered)
        if _complete(tx, day) and rows != stored.get(day, 0):
            yield f"relayed on {start:%Y-%m-%d}: {stored.get(day, 0)} in the counters, {rows} in the journal"
    if "relayed_to_reporters" in case.evidence["numbers"] and since == moment(
        micros(since) // journal.DAY_US * journal.DAY_US
    ):
        total = sum(counted.values())
        if total != case.evidence["numbers"]["relayed_to_reporters"]:
            stated = case.evidence["numbers"]["relayed_to_reporters"]
            yield f"relayed to reporters: {stated} decided on, {total} listed by day"


def _complete(tx: Connection, day: int) -> bool:
    """Return whether the journal still holds that whole day."""
    oldest = tx.execute(select(message.c.at_us).order_by(message.c.at_us).limit(1)).scalar_one_or_none()
    return oldest is not None and oldest <= (day + 1) * journal.DAY_US


def redacted(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a customer may see of a case or message: what was decided and counted, nobody else.

    No recipient, no reporter, no words of another server; addresses in a reason become dots.
    """
    if found["kind"] == "message":
        told = ("id", "kind", "at", "login", "action", "outcome", "score", "recipients")
        return {
            **{name: found[name] for name in told},
            "hits": [{"rule": hit["rule"], "score": hit["score"]} for hit in found["hits"]],
            "reply": found["reply"].partition(" ")[0],
            "reports": [
                {"feedback_type": one["feedback_type"]} for one in found["reports"] if one["counted"]
            ],
        }
    evidence, subject = found.get("evidence", {}), str(found.get("subject", ""))
    names = ("id", "kind", "level", "subject", "at", "step", "from", "to", "until", "same")
    return {
        **{name: found[name] for name in names if name in found},
        "reason": nameless(str(found.get("reason", "")), subject),
        **redacted_evidence(evidence, subject),
    }


def redacted_evidence(evidence: Mapping[str, Any], subject: str) -> dict[str, Any]:
    """Return what a customer may see of a decision's evidence: numbers, and nobody who complained."""
    return {
        "numbers": {
            name: number for name, number in evidence.get("numbers", {}).items() if name != "unjudged"
        },
        "since": evidence.get("since", ""),
        "window_days": evidence.get("window_days"),
        "lifts": nameless(str(evidence.get("lifts", "")), subject),
        "clause": str(evidence.get("clause", "")),
        "mode": str(evidence.get("mode", "")),
    }


def nameless(text: str, subject: str) -> str:
    """Return a text without anybody's address but the subject's own."""
    return _ADDRESS.sub(lambda match: match[0] if match[0].lower() == subject.lower() else "…", text)


def redacted_lines(found: Mapping[str, Any]) -> list[str]:
    """Return what `redacted` left, as text for people."""
    return [f"{name}: {value}" for name, value in found.items() if value not in ("", None, [], {})]


def lines(found: Mapping[str, Any]) -> list[str]:
    """Return an explanation as text for people."""
    if found["kind"] == "message":
        said = [
            f"message {found['id']} of {found['login']} at {found['at']}:"
            f" {found['action']}, {found['outcome']}"
        ]
        said += [f"  score {found['score']}; reply {found['reply']}"]
        said += [f"  {hit['score']:+.2f} {hit['rule']}: {hit['evidence']}" for hit in found["hits"]]
        said += [
            f"  reported at {one['at']} as {one['feedback_type']}: {one['why']}" for one in found["reports"]
        ]
        return said
    end = f" until {found['until']}" if found["until"] else ""
    said = [
        f"case {found['id']}: {found['level']} {found['subject']}:"
        f" from {found['from']} to {found['to']}{end}",
        f"  at {found['at']} by {found['set_by']}, step {found['step']}",
        f"  because {found['reason']}",
    ]
    evidence = found["evidence"]
    said += [f"  {name} = {number}" for name, number in evidence.get("numbers", {}).items()]
    if evidence.get("held_back"):
        said.append(f"  held back: {evidence['held_back']}")
    if evidence.get("lifts"):
        said.append(f"  what lifts it: {evidence['lifts']}")
    if "same" in found:
        verdict = "the same decision again" if found["same"] else "NOT the same:"
        said.append(f"  computed again from the stored numbers and rows: {verdict}")
        said += [f"    {difference}" for difference in found["differences"]]
    return said
