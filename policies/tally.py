"""Everything that the ladder may look at, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Tally:
    """What one account, server or customer did; the window is in each name, 30 days where none is.

    *Cohort* numbers are booked on the day a message was sent, whenever its report arrives, so that numerator
    and denominator speak of the same mail. *Fast* numbers are booked on arrival. Both start anew at the last
    reinstatement, automatic return or blocked credential: only what was sent later counts.
    """

    # -- cohorts, by send date
    #: grade A votes: one per (message, recipient), from listed and authenticated reporters
    votes: int = 0
    #: recipients relayed to the domains that those reporters cover: what `votes` is divided by
    relayed_to_reporters: int = 0
    #: distinct reporters' domains among the votes
    reporters: int = 0
    votes_7d: int = 0
    relayed_to_reporters_7d: int = 0
    reporters_7d: int = 0
    #: grade B reports (our token, but an unlisted reporter): for staff, never for a switch-off
    grade_b: int = 0
    relayed_7d: int = 0
    relayed_30d: int = 0
    #: recipients relayed on the busiest day of the 30 before today: what is usual at this account
    busiest_day_30d: int = 0
    #: recipients that a verified report called permanently unknown, of `relayed_30d`
    hard_bounces: int = 0

    # -- fast windows, by arrival
    messages_10m: int = 0
    messages_1h: int = 0
    #: recipients asked for, taken or not
    attempts_10m: int = 0
    attempts_1h: int = 0
    attempts_24h: int = 0
    relayed_1h: int = 0
    relayed_24h: int = 0
    #: different bodies that reached the tag score; a stuck outbox that repeats one message is one
    spam_bodies_10m: int = 0
    spam_bodies_1h: int = 0
    #: messages that reached the tag score
    spam_messages_10m: int = 0
    #: recipients of the one spam-scored body that had most
    spam_recipients_10m: int = 0
    #: recipients that the customer's server, or a verified report within the hour, called unknown
    unknown_recipients_1h: int = 0
    first_time_recipients_1h: int = 0
    first_time_recipients_24h: int = 0
    #: refused for what they said or whom they named; never for syntax, size, structure or limits
    refusals_1h: int = 0
    auth_failures_1h: int = 0
    #: client networks (/24 or /48) and countries
    networks_24h: int = 0
    countries_24h: int = 0
    #: client networks, and mail programs, never seen before at an account that sent before
    new_networks_24h: int = 0
    programs_24h: int = 0
    new_programs_24h: int = 0

    def numbers(self) -> dict[str, int]:
        """Return every number by name, as conditions see them."""
        return {name: getattr(self, name) for name in NAMES}


#: every name that a condition may use
NAMES: tuple[str, ...] = tuple(one.name for one in fields(Tally))
