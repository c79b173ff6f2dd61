"""How long and how often: the waits and the bounds of everything that is looked at again.

They stand together because they belong together (a bound times a wait is how long somebody
waits in vain), and are read as ``patience.NAME``, so that a test can shorten them in one place.
"""

from __future__ import annotations

from typing import Optional

SECOND_LOOK_S = 2.0
"""How long an unanswered request may take to show, after an error or a reset."""
SECOND_LOOK_AFTER_TIMEOUT_S = 15.0
"""The same after a time-out: the server may still be at it."""
EMPTY_LOOK_S = 0.2
"""Between two looks at a listing that is empty, where no count on record contradicts it."""
FRESH_RIGHTS_S = 10.0
"""How old copied rights may be at the import: people may have withdrawn some since."""
FRESH_FINDINGS_S = 60.0
"""How old findings of this run may be at a move, without another listing of documents."""
VISIBLE_WITHIN_S = 30.0
"""How long something that was just made may take to be found by its id."""
SENDS_PER_RUN = 3
"""How often a request without an answer is sent anew before the collection is left."""
MOST_SENDS = 12
"""The same over all runs: then the attempt has failed."""
MOST_TARGETS = 3
"""How many targets of one source may be given up, over all runs, before people have to look."""
MOST_SHORTENINGS = 8
"""How often a target's name is shortened where the server refuses its length."""
MOST_REFUSALS = 16
"""How many refusals it may take to find the settings that a server does not take."""
MOVE_PATIENCE_S = 900.0
"""How long a move job is waited for before its collection is left for a later run."""
MOVE_SETTLED_S = 60.0
"""How long a move job may stand still before what its origin lists decides."""
STALE_JOB_S = 900.0
"""How long an import job may stand still before the target's documents decide; kept over runs."""
SEEMS_OVER_S = 60.0
"""How long it has to stand still before a target that holds everything counts as imported; looked
at once more each time that the wait has doubled."""
WORKED_ON_ALIKE_S = 120.0
"""How long after the submission documents are waited for that are being worked on in the source as
well: some are stuck there for good."""
SETTLE_PATIENCE_S = 900.0
"""How long documents or jobs that do not change any more are waited for."""
STOP_PATIENCE_S = 10.0
"""How long calls under way may take to end after the user asked to stop."""
BUSY_WAIT_S = 0.1
"""Between two looks at whether another import of the same owner is settled."""
KEY_KNOWN_GOOD_S = 5.0
"""How long a key that the server has just taken counts as good: another 401 is a refusal."""
KEY_VISIBLE_WITHIN_S = 10.0
"""How long a key that was just made may take to be listed, or to be taken."""
MOST_RENEWALS = 3
RENEWALS_WITHIN_S = 600.0
"""How often a key of one owner is renewed within that time; it may expire more often in all."""
OUR_CHAT_WITHIN_S = 10.0
"""How long after our request, by the server's clock, a test chat may have been opened."""
ANSWER_POLL_S = 0.1
"""Between two looks at whether somebody has answered a question."""
FIRST_POLL_S = 0.1
LONGEST_POLL_S = 5.0
CLOSEST_POLLS = 10
CLOSEST_POLL_S = 0.02
"""How often a job is looked at in place of once where it tells that it is about to end, at most."""
MOST_POLLS_A_SECOND = 30
"""How often running jobs are asked about, all together, where they are more than a few. On a busy
machine some come late and others do not: no second sees more than 40."""
FEW_JOBS = 8
"""So many are asked each for itself, as often as it takes to notice their ends."""


def poll_delay(elapsed_s: float, left_s: Optional[float] = None) -> float:
    """Towards ``LONGEST_POLL_S``, so that an end is noticed within 5 % of the job's duration.

    Args:
        elapsed_s: for how long it has been waited for.
        left_s: after which time the job will be over, by what it tells; sooner than usual counts.
    """
    usual_s = min(LONGEST_POLL_S, max(FIRST_POLL_S, elapsed_s * 0.05))
    if left_s is None:
        return usual_s
    return min(usual_s, max(CLOSEST_POLL_S, usual_s / CLOSEST_POLLS, left_s))


def second_look(timed_out: bool) -> float:
    """How long to wait before the second look at what an unanswered request may have done."""
    return SECOND_LOOK_AFTER_TIMEOUT_S if timed_out else SECOND_LOOK_S
